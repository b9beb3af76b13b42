package erofs

import (
	"bytes"
	"fmt"
	"io"
	"math"

	"golang.org/x/sys/unix"
)

// fillData is the size in bytes up to which Inode fills in the contents of a regular file.
const fillData = blockSize

// A node is an inode as it stands in the image, before its attributes and data are read.
type node struct {
	Inode
	nid       NID
	layout    uint16
	union     uint32
	xattrs    int64 // offset of the attributes
	xattrSize int
	after     int64 // offset of what follows them
}

// Inode reads an inode. Redirect is filled in, and so is Data for symbolic links and for regular
// files of up to 4096 bytes; larger ones are read with Contents. Of a compressed file there is
// all but the contents.
func (im *Image) Inode(nid NID) (Inode, error) {
	n, err := im.nodeXattrs(nid)
	if err != nil {
		return Inode{}, err
	}
	kind := fileType(n.Mode)
	if kind == typeSymlink || kind == typeRegular && n.fill() {
		n.Data = make([]byte, n.Size)
		if err := im.readData(n, n.Data, 0); err != nil {
			return Inode{}, fmt.Errorf("inode %d: %w", nid, err)
		}
	}
	if kind == typeSymlink && bytes.IndexByte(n.Data, 0) >= 0 {
		return Inode{}, fmt.Errorf("inode %d: symbolic link to %q: %w", nid, n.Data, ErrCorrupt)
	}
	return n.Inode, nil
}

// fill tells whether Inode fills in the contents of the regular file.
func (n *node) fill() bool {
	return n.Redirect == "" && n.Size > 0 && n.Size <= fillData && !n.compressed()
}

func (n *node) compressed() bool { return n.layout == layoutFull || n.layout == layoutCompact }

// Contents returns the contents of a regular file that is no redirect, of any size. The reader
// is good for as long as the image, and shares its buffer. The error for a compressed file wraps
// ErrCompressed.
func (im *Image) Contents(nid NID) (*io.SectionReader, error) {
	n, err := im.nodeXattrs(nid)
	if err != nil {
		return nil, err
	}
	if fileType(n.Mode) != typeRegular || n.Redirect != "" {
		return nil, fmt.Errorf("inode %d: contents of mode %#o, redirect %q: %w", nid, n.Mode, n.Redirect, unix.EINVAL)
	}
	if n.compressed() {
		return nil, fmt.Errorf("inode %d: %w", nid, ErrCompressed)
	}
	return io.NewSectionReader(&contents{im, n}, 0, n.Size), nil
}

type contents struct {
	im *Image
	n  *node
}

func (c *contents) ReadAt(p []byte, offset int64) (int, error) {
	left := c.n.Size - offset
	if offset < 0 || left <= 0 {
		return 0, io.EOF
	}
	short := int64(len(p)) > left
	if short {
		p = p[:left]
	}
	if err := c.im.readData(c.n, p, offset); err != nil {
		return 0, fmt.Errorf("inode %d: %w", c.n.nid, err)
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

// nodeXattrs reads an inode with its attributes.
func (im *Image) nodeXattrs(nid NID) (*node, error) {
	n, err := im.node(nid)
	if err != nil {
		return nil, err
	}
	if err := im.readXattrs(n); err != nil {
		return nil, fmt.Errorf("inode %d: %w", nid, err)
	}
	if n.hollow() && n.Redirect == "" {
		return nil, fmt.Errorf("inode %d: neither data nor redirect: %w", nid, ErrCorrupt)
	}
	return n, nil
}

// hollow tells whether the inode is a redirect as Options.NoChunks writes it: without data.
func (n *node) hollow() bool {
	return n.layout == layoutPlain && n.union == nullBlock && n.Size > 0 && fileType(n.Mode) == typeRegular
}

// node reads the fixed part of an inode and checks that its data lies in the image.
func (im *Image) node(nid NID) (*node, error) {
	n, err := im.parseNode(nid)
	if err == nil {
		err = im.checkData(n)
	}
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w", nid, err)
	}
	return n, nil
}

func (im *Image) parseNode(nid NID) (*node, error) {
	if nid > NID(im.limit>>slotBits) {
		return nil, fmt.Errorf("beyond the end: %w", ErrCorrupt)
	}
	pos := im.meta + int64(nid)<<slotBits
	raw := im.head[:]
	if err := im.read(raw[:compactSize], pos); err != nil {
		return nil, err
	}
	format := le.Uint16(raw[0:])
	if format > 0xf {
		return nil, fmt.Errorf("format %#x: %w", format, ErrCorrupt)
	}
	n := &node{nid: nid, layout: format >> 1}
	n.Mode = uint32(le.Uint16(raw[4:]))
	n.union = le.Uint32(raw[16:])
	n.xattrs = pos + compactSize
	if count := int(le.Uint16(raw[2:])); count > 0 {
		n.xattrSize = xattrHeaderSize + (count-1)*4
	}
	if format&1 == 0 {
		n.Nlink = uint32(le.Uint16(raw[6:]))
		n.Size = int64(le.Uint32(raw[8:]))
		n.UID, n.GID = uint32(le.Uint16(raw[24:])), uint32(le.Uint16(raw[26:]))
		n.Mtime, n.MtimeNsec = im.buildTime, im.buildNsec
	} else {
		if err := im.read(raw[compactSize:], pos+compactSize); err != nil {
			return nil, err
		}
		n.xattrs = pos + extendedSize
		n.Size = int64(le.Uint64(raw[8:]))
		n.UID, n.GID = le.Uint32(raw[24:]), le.Uint32(raw[28:])
		n.Mtime, n.MtimeNsec = int64(le.Uint64(raw[32:])), le.Uint32(raw[40:])
		n.Nlink = le.Uint32(raw[nlinkOffset:])
	}
	if n.MtimeNsec >= 1e9 {
		return nil, fmt.Errorf("time of %d ns: %w", n.MtimeNsec, ErrCorrupt)
	}
	n.after = n.xattrs + int64(n.xattrSize)
	return n, nil
}

// checkData checks what the type of a node says about its size and data.
func (im *Image) checkData(n *node) error {
	if n.Size < 0 {
		return fmt.Errorf("size %d: %w", uint64(n.Size), ErrCorrupt)
	}
	switch fileType(n.Mode) {
	case 0:
		return fmt.Errorf("mode %#o: %w", n.Mode, ErrCorrupt)
	case typeChar, typeBlock:
		n.Rdev = unix.Mkdev(n.union>>8&0xfff, n.union&0xff|n.union>>12&0xfff00)
		return im.checkEmpty(n)
	case typeFIFO, typeSocket:
		return im.checkEmpty(n)
	case typeSymlink:
		if n.Size == 0 || n.Size > maxTarget {
			return fmt.Errorf("symbolic link to %d bytes: %w", n.Size, ErrCorrupt)
		}
	case typeDir:
		// Without chunks a directory is no larger than the image.
		if n.Size == 0 || n.layout != layoutPlain && n.layout != layoutInline {
			return fmt.Errorf("directory of %d bytes in layout %d: %w", n.Size, n.layout, ErrCorrupt)
		}
	}
	return im.checkLayout(n)
}

func (im *Image) checkEmpty(n *node) error {
	if n.Size != 0 {
		return fmt.Errorf("%d bytes of data of mode %#o: %w", n.Size, n.Mode, ErrCorrupt)
	}
	return nil
}

// checkLayout checks that the data lies in the image, but for chunks only that their map does.
func (im *Image) checkLayout(n *node) error {
	ok := false
	switch n.layout {
	case layoutPlain:
		ok = n.Size == 0 || n.hollow() || im.within(int64(n.union)<<blockBits, n.Size)
	case layoutInline:
		tail := n.tail()
		ok = im.within(int64(n.union)<<blockBits, n.Size-tail) || n.Size == tail
		ok = ok && n.after&(blockSize-1)+tail <= blockSize && im.within(n.after, tail)
	case layoutFull, layoutCompact: // the map is the kernel's to read
		ok = fileType(n.Mode) == typeRegular
	case layoutChunks:
		ok = n.union&^(chunkBitsMask|chunkIndexes) == 0
		bits := blockBits + n.union&chunkBitsMask
		chunks := n.Size >> bits
		if n.Size&(1<<bits-1) != 0 {
			chunks++
		}
		ok = ok && chunks < math.MaxInt64/8 && im.within(n.chunkMap(), chunks*n.chunkUnit())
	}
	if !ok {
		return fmt.Errorf("%d bytes of data in layout %d: %w", n.Size, n.layout, ErrCorrupt)
	}
	return nil
}

// tail is how much of the data is inline: what begins in the last block, even all of it.
func (n *node) tail() int64 {
	if n.Size == 0 {
		return 0
	}
	return (n.Size-1)&(blockSize-1) + 1
}

func (n *node) chunkUnit() int64 {
	if n.union&chunkIndexes != 0 {
		return 8
	}
	return 4
}

func (n *node) chunkMap() int64 {
	unit := n.chunkUnit()
	return (n.after + unit - 1) &^ (unit - 1)
}

// readData fills p with the data of n from an offset; both must be within its size.
func (im *Image) readData(n *node, p []byte, offset int64) error {
	for len(p) > 0 {
		at, run, err := im.locate(n, offset)
		if err != nil {
			return err
		}
		part := p[:min(int64(len(p)), run)]
		if at < 0 {
			clear(part)
		} else if err := im.read(part, at); err != nil {
			return err
		}
		p = p[len(part):]
		offset += int64(len(part))
	}
	return nil
}

// locate returns where the byte of n's data at offset is in the image and how many follow it
// there; -1 for a hole.
func (im *Image) locate(n *node, offset int64) (at, run int64, err error) {
	if n.layout == layoutChunks {
		return im.locateChunk(n, offset)
	}
	whole := n.Size
	if n.layout == layoutInline {
		whole -= n.tail()
	}
	if offset < whole {
		return int64(n.union)<<blockBits + offset, whole - offset, nil
	}
	return n.after + offset - whole, n.Size - offset, nil
}

func (im *Image) locateChunk(n *node, offset int64) (at, run int64, err error) {
	bits := blockBits + n.union&chunkBitsMask
	unit := n.chunkUnit()
	raw := im.head[:unit]
	if err := im.read(raw, n.chunkMap()+(offset>>bits)*unit); err != nil {
		return 0, 0, err
	}
	inChunk := offset & (1<<bits - 1)
	run = min(1<<bits-inChunk, n.Size-offset)
	addr := le.Uint32(raw[unit-4:])
	if unit == 8 && le.Uint32(raw) != 0 {
		return 0, 0, fmt.Errorf("chunk on device %d: %w", le.Uint16(raw[2:]), ErrCorrupt)
	}
	if addr == nullBlock {
		return -1, run, nil
	}
	return int64(addr)<<blockBits + inChunk, run, nil
}

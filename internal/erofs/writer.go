package erofs

import (
	"bytes"
	"fmt"
	"io"
	"math/bits"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxData is how large Data may be, in bytes: the writer takes it whole.
const MaxData = 16 << 20

// maxRedirect is the largest Size of a redirect: one chunk, so that its map is one number.
const maxRedirect = 1 << maxChunkBits

// maxTarget is the longest target of a symbolic link (PATH_MAX without its end, path_resolution(7)).
const maxTarget = 4095

// Options are choices about an image. The zero value is good.
type Options struct {
	// UUID of the file system; none unless set, so that equal trees are equal images.
	UUID [16]byte
	// NoChunks writes redirects as Linux before 5.15 mounts them: their data would lie beyond any
	// device. Through overlayfs there is no difference; without it they read as EIO, not zeros.
	NoChunks bool
	// Compact writes files in 32 bytes less each, where that loses nothing: a regular file of root's with one
	// name, no attributes and the time 0, as packs of objects have them.
	Compact bool
}

// A Writer writes an image front to back, but for the blocks that it keeps open. Of an inode that
// is written it remembers 4 bytes. It is for one goroutine.
type Writer struct {
	options Options
	err     error // of the file; the writer is of no use after it

	placer placer
	first  [blockSize]byte // block 0: superblock, root
	xattrs xattrs
	links  links
	inodes uint64 // with names, counted by Finish
	record []byte
	block  [blockSize]byte // of a directory
}

// NewWriter returns a writer of an image into an empty file.
func NewWriter(f io.WriterAt, o Options) *Writer {
	return &Writer{options: o, placer: placer{file: f, next: 1}}
}

// SetUUID gives the file system its UUID, before Finish.
func (w *Writer) SetUUID(u [16]byte) { w.options.UUID = u }

// Add writes an inode that is not a directory and returns its place. Inodes are not compared:
// each call makes a new one, and further names of one are further entries with its NID. One that
// no entry names stays in the image as dead bytes. An error about the inode leaves the image as
// it was.
func (w *Writer) Add(n *Inode) (NID, error) {
	if w.err != nil {
		return 0, w.err
	}
	if err := check(n); err != nil {
		return 0, fmt.Errorf("add inode: %w", err)
	}
	b := body{size: int64(len(n.Data)), nlink: 1}
	if n.Redirect != "" {
		b.redirect(n.Size, w.options)
	}
	if err := w.encode(n, &b, blockSize); err != nil {
		return 0, fmt.Errorf("add inode: %w", err)
	}
	offset, err := w.put(n, &b)
	if err != nil {
		w.err = fmt.Errorf("write image: %w", err)
		return 0, w.err
	}
	nid := NID(offset >> slotBits)
	w.links.add(nid, fileType(n.Mode))
	return nid, nil
}

// check refuses an inode that is not a directory and that the image cannot hold.
func check(n *Inode) error {
	kind := n.Mode & unix.S_IFMT
	switch {
	case n.Mode > 0xffff || fileType(n.Mode) == 0 || kind == unix.S_IFDIR:
		return fmt.Errorf("mode %#o: %w", n.Mode, unix.EINVAL)
	case n.MtimeNsec >= 1e9:
		return fmt.Errorf("time of %d ns: %w", n.MtimeNsec, unix.EINVAL)
	case len(n.Data) > MaxData:
		return fmt.Errorf("%d bytes of data: above %d", len(n.Data), MaxData)
	case kind == unix.S_IFLNK && (len(n.Data) == 0 || len(n.Data) > maxTarget):
		return fmt.Errorf("symbolic link to %d bytes: not 1 to %d", len(n.Data), maxTarget)
	case kind == unix.S_IFLNK && bytes.IndexByte(n.Data, 0) >= 0:
		return fmt.Errorf("symbolic link to %q: %w", n.Data, unix.EINVAL)
	case kind != unix.S_IFREG && kind != unix.S_IFLNK && len(n.Data) > 0:
		return fmt.Errorf("data of mode %#o: %w", n.Mode, unix.EINVAL)
	case n.Redirect != "":
		return checkRedirect(n)
	case n.Size != 0 && n.Size != int64(len(n.Data)):
		return fmt.Errorf("size %d of %d bytes of data: %w", n.Size, len(n.Data), unix.EINVAL)
	}
	return checkDevice(n)
}

func checkRedirect(n *Inode) error {
	switch {
	case n.Mode&unix.S_IFMT != unix.S_IFREG || len(n.Data) > 0 || !validRedirect(n.Redirect):
		return fmt.Errorf("redirect to %q, mode %#o: %w", n.Redirect, n.Mode, unix.EINVAL)
	case n.Size <= 0 || n.Size > maxRedirect:
		return fmt.Errorf("redirect to %s of %d bytes: not 1 to %d", n.Redirect, n.Size, int64(maxRedirect))
	}
	return nil
}

// validRedirect tells whether overlayfs looks for such a path from the root of a data-only layer.
func validRedirect(path string) bool {
	return len(path) > 1 && path[0] == '/' && len(path) <= maxTarget && !strings.ContainsRune(path, 0)
}

// checkDevice refuses numbers that the kernel's 32 bits (new_encode_dev) do not hold.
func checkDevice(n *Inode) error {
	kind := n.Mode & unix.S_IFMT
	if kind != unix.S_IFCHR && kind != unix.S_IFBLK {
		return nil
	}
	if major, minor := unix.Major(n.Rdev), unix.Minor(n.Rdev); major >= 1<<12 || minor >= 1<<20 {
		return fmt.Errorf("device %d:%d: %w", major, minor, unix.EINVAL)
	}
	return nil
}

// A body is what an inode says about its data.
type body struct {
	size   int64
	layout uint16
	union  uint32 // i_u: a block address, a device number or the format of chunks
	nlink  uint32
	hollow bool // no data in the image
	room   int  // bytes after the record for inline data
}

// redirect makes b that of a file whose bytes are elsewhere: a hole in one chunk.
func (b *body) redirect(size int64, o Options) {
	b.size, b.layout = size, layoutChunks
	b.union = uint32(max(bits.Len64(uint64(size-1)), blockBits) - blockBits)
	if o.NoChunks {
		b.layout, b.union, b.hollow = layoutPlain, nullBlock, true
	}
}

// encode makes w.record, the inode with what follows it but for inline data, and completes b.
// With inline data it takes up to limit bytes.
func (w *Writer) encode(n *Inode, b *body, limit int) error {
	if w.compact(n, b) {
		w.encodeCompact(n, b, limit)
		return nil
	}
	var head [extendedSize]byte
	record, err := w.xattrs.encode(append(w.record[:0], head[:]...), n)
	if err != nil {
		return err
	}
	if limit < blockSize && len(record) > limit {
		record, err = w.xattrs.shareAll(record[:extendedSize], func(entries []byte) (int64, error) {
			return w.placer.place(entries, 0)
		})
		if err != nil {
			return err
		}
	}
	xattrSize := len(record) - extendedSize
	switch n.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		major, minor := unix.Major(n.Rdev), unix.Minor(n.Rdev)
		b.union = minor&0xff | major<<8 | minor&^0xff<<12
	}
	if b.layout == layoutChunks {
		record = le.AppendUint32(record, nullBlock)
	} else if tail := int(b.size & (blockSize - 1)); !b.hollow && tail > 0 && len(record)+tail <= limit {
		b.layout, b.room = layoutInline, tail
	}
	le.PutUint16(record[0:], 1|b.layout<<1)
	le.PutUint16(record[2:], xattrCount(xattrSize))
	le.PutUint16(record[4:], uint16(n.Mode))
	le.PutUint64(record[8:], uint64(b.size))
	le.PutUint32(record[16:], b.union)
	le.PutUint32(record[24:], n.UID)
	le.PutUint32(record[28:], n.GID)
	le.PutUint64(record[32:], uint64(n.Mtime))
	le.PutUint32(record[40:], n.MtimeNsec)
	le.PutUint32(record[nlinkOffset:], b.nlink)
	w.record = record // i_ino stays 0: Linux makes the number from the NID
	return nil
}

// compact tells whether the short form of an inode has all of n.
func (w *Writer) compact(n *Inode, b *body) bool {
	return w.options.Compact && n.Mode&unix.S_IFMT == unix.S_IFREG && n.Redirect == "" && len(n.Xattrs) == 0 &&
		n.UID == 0 && n.GID == 0 && n.Mtime == 0 && n.MtimeNsec == 0 && b.size < 1<<32
}

func (w *Writer) encodeCompact(n *Inode, b *body, limit int) {
	var record [compactSize]byte
	if tail := int(b.size & (blockSize - 1)); tail > 0 && len(record)+tail <= limit {
		b.layout, b.room = layoutInline, tail
	}
	le.PutUint16(record[0:], b.layout<<1)
	le.PutUint16(record[4:], uint16(n.Mode))
	le.PutUint16(record[6:], uint16(b.nlink))
	le.PutUint32(record[8:], uint32(b.size))
	w.record = append(w.record[:0], record[:]...)
}

// put writes the record with the data of n and returns where the inode is.
func (w *Writer) put(n *Inode, b *body) (int64, error) {
	whole := len(n.Data) - b.room
	if whole > 0 {
		addr, err := w.placer.blocks(int64(whole))
		if err != nil {
			return 0, err
		}
		if err := w.placer.writeBlocks(addr, n.Data[:whole]); err != nil {
			return 0, err
		}
		le.PutUint32(w.record[16:], addr)
	}
	w.record = append(w.record, n.Data[whole:]...)
	offset, err := w.placer.place(w.record, 0)
	if err == nil {
		w.xattrs.placed(w.record, offset)
	}
	return offset, err
}

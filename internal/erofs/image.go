package erofs

import (
	"errors"
	"fmt"
	"io"
)

var (
	// ErrCorrupt is an image that breaks the rules of the format, or uses more of it than this
	// package reads: several devices, blocks that are not 4096 bytes, fragments of files.
	ErrCorrupt = errors.New("corrupt or unsupported image")
	// ErrCompressed is a file whose contents only the kernel reads.
	ErrCompressed = errors.New("compressed")
)

// An Image is an image to read. Its methods are for one goroutine at a time: they share a buffer.
// They trust nothing in the image; what one call does and holds is bounded by the image's size.
type Image struct {
	file  io.ReaderAt
	limit int64 // bytes that the superblock counts: nothing lies beyond

	root  NID
	meta  int64 // offset that NIDs count from
	xattr int64 // offset that shared attributes count from

	// Times of compact inodes.
	buildTime int64
	buildNsec uint32

	block   [blockSize]byte
	blockAt int64              // offset of what block holds, -1 for nothing
	head    [extendedSize]byte // what is being parsed
}

// Open looks at the superblock of an image of size bytes.
func Open(r io.ReaderAt, size int64) (*Image, error) {
	im := &Image{file: r, limit: size, blockAt: -1}
	if err := im.readSuper(); err != nil {
		return nil, fmt.Errorf("superblock: %w", err)
	}
	root, err := im.node(im.root)
	if err != nil {
		return nil, fmt.Errorf("root directory: %w", err)
	}
	if fileType(root.Mode) != typeDir {
		return nil, fmt.Errorf("root directory: mode %#o: %w", root.Mode, ErrCorrupt)
	}
	return im, nil
}

// Root returns the NID of the root directory.
func (im *Image) Root() NID { return im.root }

func (im *Image) readSuper() error {
	var first [blockSize]byte
	if im.limit < blockSize {
		return fmt.Errorf("%d bytes are less than a block: %w", im.limit, ErrCorrupt)
	}
	if err := im.read(first[:], 0); err != nil {
		return err
	}
	s := first[superStart:]
	if got := le.Uint32(s); got != magic {
		return fmt.Errorf("magic number %#x: %w", got, ErrCorrupt)
	}
	if s[12] != blockBits || s[90] != 0 {
		return fmt.Errorf("blocks of 2^%d bytes, of directories 2^%d times that: %w", s[12], s[90], ErrCorrupt)
	}
	const known = incompatChunked | incompatZeroPadding | incompatCompression
	if unknown := le.Uint32(s[80:]) &^ known; unknown != 0 {
		return fmt.Errorf("features %#x: %w", unknown, ErrCorrupt)
	}
	if le.Uint16(s[86:]) != 0 {
		return fmt.Errorf("%d more devices: %w", le.Uint16(s[86:]), ErrCorrupt)
	}
	want := le.Uint32(s[4:])
	le.PutUint32(s[4:], 0)
	if le.Uint32(s[8:])&compatChecksum == 0 {
		return fmt.Errorf("without checksum: %w", ErrCorrupt)
	}
	if got := checksum(first[:]); got != want {
		return fmt.Errorf("checksum %#x is not %#x: %w", got, want, ErrCorrupt)
	}
	blocks := int64(le.Uint32(s[36:])) << blockBits
	if blocks > im.limit {
		return fmt.Errorf("%d bytes of %d are there: %w", im.limit, blocks, ErrCorrupt)
	}
	im.limit = blocks
	im.root = NID(le.Uint16(s[14:]))
	im.meta = int64(le.Uint32(s[40:])) << blockBits
	im.xattr = int64(le.Uint32(s[44:])) << blockBits
	im.buildTime = int64(le.Uint64(s[24:]))
	im.buildNsec = le.Uint32(s[32:])
	return nil
}

// within tells whether size bytes at offset lie in the image.
func (im *Image) within(offset, size int64) bool {
	return offset >= 0 && size >= 0 && offset <= im.limit && size <= im.limit-offset
}

// read fills p from an offset. What lies in one block comes through the buffer, since the parts of
// an inode and its neighbours do.
func (im *Image) read(p []byte, offset int64) error {
	if !im.within(offset, int64(len(p))) {
		return fmt.Errorf("%d bytes at %d: beyond the end: %w", len(p), offset, ErrCorrupt)
	}
	start := offset &^ (blockSize - 1)
	if len(p) >= blockSize || offset+int64(len(p)) > start+blockSize || start+blockSize > im.limit {
		return im.readFull(p, offset)
	}
	if im.blockAt != start {
		im.blockAt = -1
		if err := im.readFull(im.block[:], start); err != nil {
			return err
		}
		im.blockAt = start
	}
	copy(p, im.block[offset-start:])
	return nil
}

func (im *Image) readFull(p []byte, offset int64) error {
	n, err := im.file.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(p), offset, err)
}

package erofs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Finish writes the directories below root and completes the image. It sorts their entries. An
// entry that is no directory must have come from Add with the same type. It returns the size of
// the image in bytes, a multiple of 4096. The file is an image only once Finish has returned:
// block 0 is the last one written. After Finish, or its error, the writer is of no use.
func (w *Writer) Finish(root *Dir) (int64, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.err = errors.New("the image is finished")
	w.links.begin()
	if err := w.place(root, 0); err != nil {
		return 0, fmt.Errorf("place directory: %w", err)
	}
	if err := w.complete(root); err != nil {
		return 0, fmt.Errorf("write image: %w", err)
	}
	return int64(w.placer.next) << blockBits, nil
}

func (w *Writer) complete(root *Dir) error {
	if err := w.placer.flush(); err != nil {
		return err
	}
	if err := w.fill(root, root.nid); err != nil {
		return err
	}
	if err := w.links.each(w.writeLinks); err != nil {
		return err
	}
	w.super(root.nid)
	return w.placer.writeBlocks(0, w.first[:])
}

// writeLinks corrects the link count of an inode, which Add wrote as 1.
func (w *Writer) writeLinks(nid NID, count uint32) error {
	w.inodes++
	if count == 1 {
		return nil
	}
	if w.options.Compact {
		return fmt.Errorf("inode %d: has %d names and may be compact: %w", nid, count, unix.EINVAL)
	}
	var field [4]byte
	le.PutUint32(field[:], count)
	_, err := w.placer.file.WriteAt(field[:], int64(nid)<<slotBits+nlinkOffset)
	return err
}

// super fills in the superblock. The addresses of the inodes and of shared attributes count from
// block 0; the build time stays 0.
func (w *Writer) super(root NID) {
	s := w.first[superStart:]
	le.PutUint32(s[0:], magic)
	le.PutUint32(s[8:], compatChecksum|compatMtime)
	s[12] = blockBits
	le.PutUint16(s[14:], uint16(root))
	le.PutUint64(s[16:], w.inodes)
	le.PutUint32(s[36:], w.placer.next)
	copy(s[48:64], w.options.UUID[:])
	if !w.options.NoChunks {
		le.PutUint32(s[80:], incompatChunked)
	}
	le.PutUint32(s[4:], checksum(w.first[:]))
}

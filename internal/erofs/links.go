package erofs

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// links remembers which inodes there are, in 4 bytes for each, and counts their names.
type links struct {
	inodes []uint32 // NID and type; sorted from begin on
	counts []uint32 // beside inodes
}

const typeBits = 3

func (l *links) add(nid NID, kind byte) {
	l.inodes = append(l.inodes, uint32(nid)<<typeBits|uint32(kind))
}

// begin ends the adding: from here on names are counted.
func (l *links) begin() {
	slices.Sort(l.inodes)
	l.counts = make([]uint32, len(l.inodes))
}

// count counts one more name for an inode, which must be there and have that type.
func (l *links) count(nid NID, kind byte) error {
	if nid > maxNID {
		return fmt.Errorf("inode %d: %w", nid, unix.ENOENT)
	}
	i, ok := slices.BinarySearch(l.inodes, uint32(nid)<<typeBits|uint32(kind))
	if !ok {
		return fmt.Errorf("inode %d of type %d: %w", nid, kind, unix.ENOENT)
	}
	l.counts[i]++
	return nil
}

// each calls f for every inode with names, from the lowest on.
func (l *links) each(f func(nid NID, count uint32) error) error {
	for i, count := range l.counts {
		if count == 0 {
			continue
		}
		if err := f(NID(l.inodes[i]>>typeBits), count); err != nil {
			return err
		}
	}
	return nil
}

package erofs

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// links remembers which inodes there are, with their types, and counts their names. A byte for
// each slot of the image is enough: an inode takes at least 2 slots, 6 on average.
type links struct {
	slots []byte // type in the low 3 bits, count in the rest up to maxCount
	many  map[NID]uint32
}

const (
	typeBits = 3
	typeMask = 1<<typeBits - 1
	maxCount = 1<<(8-typeBits) - 1 // stands for: see many
)

func (l *links) add(nid NID, kind byte) {
	if n := int(nid) + 1; n > len(l.slots) {
		l.slots = slices.Grow(l.slots, n-len(l.slots))[:n]
	}
	l.slots[nid] = kind
}

// count counts one more name for an inode, which must be there and have that type.
func (l *links) count(nid NID, kind byte) error {
	if nid >= NID(len(l.slots)) || l.slots[nid] == 0 {
		return fmt.Errorf("inode %d: %w", nid, unix.ENOENT)
	}
	slot := l.slots[nid]
	if slot&typeMask != kind {
		return fmt.Errorf("inode %d is of type %d, not %d: %w", nid, slot&typeMask, kind, unix.EINVAL)
	}
	if slot>>typeBits < maxCount {
		slot += 1 << typeBits
		l.slots[nid] = slot
	}
	if slot>>typeBits < maxCount {
		return nil
	}
	if l.many == nil {
		l.many = map[NID]uint32{}
	}
	if l.many[nid] == 0 {
		l.many[nid] = maxCount - 1
	}
	l.many[nid]++
	return nil
}

// each calls f for every inode with names, from the lowest on.
func (l *links) each(f func(nid NID, count uint32) error) error {
	for i, slot := range l.slots {
		count := uint32(slot >> typeBits)
		if count == 0 {
			continue
		}
		if count == maxCount {
			count = l.many[NID(i)]
		}
		if err := f(NID(i), count); err != nil {
			return err
		}
	}
	return nil
}

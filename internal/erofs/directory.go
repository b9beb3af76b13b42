package erofs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/order"
)

// prepare sorts the entries of d, looks at them and returns the directory's link count.
func (d *Dir) prepare() (uint32, error) {
	if d.Mode > 0xffff || d.Mode&unix.S_IFMT != unix.S_IFDIR || len(d.Data) > 0 || d.Redirect != "" {
		return 0, fmt.Errorf("directory of mode %#o: %w", d.Mode, unix.EINVAL)
	}
	if d.MtimeNsec >= 1e9 {
		return 0, fmt.Errorf("time of %d ns: %w", d.MtimeNsec, unix.EINVAL)
	}
	d.load()
	links := uint32(2)
	for i := range d.Entries {
		e := &d.Entries[i]
		if !validName(e.Name) {
			return 0, fmt.Errorf("entry %q: not a name", e.Name)
		}
		if i > 0 && e.Name == d.Entries[i-1].Name {
			return 0, fmt.Errorf("entry %q: given twice", e.Name)
		}
		if e.Dir != nil {
			links++
		}
	}
	return links, nil
}

// load gets the entries, sorted.
func (d *Dir) load() {
	if d.Lazy != nil {
		d.Entries = d.Lazy()
	}
	order.By(d.Entries, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
}

// unload gives back what load can get again.
func (d *Dir) unload() {
	if d.Lazy != nil {
		d.Entries = nil
	}
}

// validName tells whether a directory can have such an entry beside "." and "..".
func validName(name string) bool {
	return name != "" && len(name) <= maxName && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// dirents are the entries of a directory with "." and ".." where the order by bytes puts them.
type dirents struct {
	d           *Dir
	parent      NID
	dot, dotDot int
}

func newDirents(d *Dir, parent NID) *dirents {
	dot, _ := search(d.Entries, ".")
	dotDot, _ := search(d.Entries, "..")
	return &dirents{d: d, parent: parent, dot: dot, dotDot: dotDot + 1}
}

// search finds a name among sorted entries, or where it would be.
func search(entries []Entry, name string) (int, bool) {
	return slices.BinarySearchFunc(entries, name, func(e Entry, name string) int {
		return cmp.Compare(e.Name, name)
	})
}

func (l *dirents) count() int { return len(l.d.Entries) + 2 }

// at returns entry i; NIDs of directories must be known.
func (l *dirents) at(i int) (name string, nid NID, kind byte) {
	switch {
	case i == l.dot:
		return ".", l.d.nid, typeDir
	case i == l.dotDot:
		return "..", l.parent, typeDir
	case i > l.dotDot:
		i--
	}
	if i > l.dot {
		i--
	}
	e := &l.d.Entries[i]
	if e.Dir != nil {
		return e.Name, e.Dir.nid, typeDir
	}
	return e.Name, e.NID, fileType(e.Type)
}

// block returns where the block that starts with entry i ends: the next entry, and its bytes.
func (l *dirents) block(i int) (end, size int) {
	for end = i; end < l.count(); end++ {
		name, _, _ := l.at(end)
		if size+direntSize+len(name) > blockSize {
			break
		}
		size += direntSize + len(name)
	}
	return end, size
}

// size of the directory in bytes.
func (l *dirents) size() int64 {
	var total int64
	for i := 0; i < l.count(); {
		end, size := l.block(i)
		if end < l.count() {
			size = blockSize
		}
		total += int64(size)
		i = end
	}
	return total
}

// encode puts the entries i to end into a block: the entries, then their names.
func (l *dirents) encode(block []byte, i, end int) {
	names := (end - i) * direntSize
	for entry := block; i < end; i++ {
		name, nid, kind := l.at(i)
		le.PutUint64(entry, uint64(nid))
		le.PutUint16(entry[8:], uint16(names))
		entry[10] = kind
		entry = entry[direntSize:]
		names += copy(block[names:], name)
	}
}

// place gives d and all below it their places, writes their inodes and counts links.
// above is the length of its path.
func (w *Writer) place(d *Dir, above int) error {
	root := above == 0
	if d.nid != 0 {
		return errors.New("the directory is in the tree twice")
	}
	links, err := d.prepare()
	if err != nil {
		return err
	}
	w.inodes++
	list := newDirents(d, 0)
	b := body{size: list.size(), nlink: links}
	limit := blockSize
	if root {
		limit -= rootStart
	}
	if err := w.encode(&d.Inode, &b, limit); err != nil {
		return err
	}
	if err := w.putDir(d, &b, root); err != nil {
		return err
	}
	for i := range d.Entries {
		if err := w.placeEntry(&d.Entries[i], above); err != nil {
			return fmt.Errorf("%s: %w", d.Entries[i].Name, err)
		}
	}
	d.unload()
	return nil
}

func (w *Writer) placeEntry(e *Entry, above int) error {
	length := above + len("/") + len(e.Name)
	if length-len("/") > maxPath {
		return fmt.Errorf("path of more than %d bytes", maxPath)
	}
	if e.Dir != nil {
		return w.place(e.Dir, length)
	}
	return w.links.count(e.NID, fileType(e.Type))
}

// putDir writes the record of a directory and reserves the room for its entries.
func (w *Writer) putDir(d *Dir, b *body, root bool) error {
	if whole := b.size - int64(b.room); whole > 0 {
		addr, err := w.placer.blocks(whole)
		if err != nil {
			return err
		}
		d.data = addr
		le.PutUint32(w.record[16:], addr)
	}
	offset := int64(rootStart)
	if root {
		copy(w.first[rootStart:], w.record)
	} else {
		var err error
		if offset, err = w.placer.place(w.record, b.room); err != nil {
			return err
		}
		w.xattrs.placed(w.record, offset)
	}
	d.nid = NID(offset >> slotBits)
	if b.room > 0 {
		d.tail = offset + int64(len(w.record))
	}
	return nil
}

// fill writes the entries of d and all below it, when all places are known.
func (w *Writer) fill(d *Dir, parent NID) error {
	if d.Lazy != nil {
		d.load()
		defer d.unload()
	}
	list := newDirents(d, parent)
	addr := d.data
	for i := 0; i < list.count(); {
		end, size := list.block(i)
		block := w.block[:]
		clear(block)
		list.encode(block, i, end)
		var err error
		switch {
		case end < list.count() || d.tail == 0:
			err = w.placer.writeBlocks(addr, block)
			addr++
		case d.tail < blockSize:
			copy(w.first[d.tail:], block[:size])
		default:
			_, err = w.placer.file.WriteAt(block[:size], d.tail)
		}
		if err != nil {
			return err
		}
		i = end
	}
	for i := range d.Entries {
		if sub := d.Entries[i].Dir; sub != nil {
			if err := w.fill(sub, d.nid); err != nil {
				return err
			}
		}
	}
	return nil
}

package pack

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/order"
)

// A Writer writes a pack of objects as they come, not compressed. It is for the many small files of
// an image: as files of their own they would take a block and an inode each. In memory it keeps 44 bytes
// of an object. It is for one goroutine.
type Writer struct {
	erofs *erofs.Writer
	pages [][]entry // of pageSize entries each: a slice that grows would need twice the memory for a moment
	n     int
	table []uint32 // by digest: 1 + the number of an entry; 0 is free
}

type entry struct {
	digest object.Digest
	nid    uint32
}

const pageSize = 1024

// NewWriter returns a writer of a pack into an empty file.
func NewWriter(f io.WriterAt) *Writer {
	return &Writer{erofs: erofs.NewWriter(f, erofs.Options{Compact: true}), table: make([]uint32, pageSize)}
}

// Len is how many objects there are.
func (w *Writer) Len() int { return w.n }

// Has tells whether the object is in the pack.
func (w *Writer) Has(d object.Digest) bool { return w.table[w.slot(d)] != 0 }

// Add adds an object that is not there yet. data has the digest d, and is at most erofs.MaxData bytes.
func (w *Writer) Add(d object.Digest, data []byte) error {
	slot := w.slot(d)
	if w.table[slot] != 0 {
		return nil
	}
	nid, err := w.erofs.Add(&erofs.Inode{Mode: unix.S_IFREG | 0o444, Data: data, Size: int64(len(data))})
	if err != nil {
		return fmt.Errorf("pack object %s: %w", d, err)
	}
	if w.n%pageSize == 0 {
		w.pages = append(w.pages, make([]entry, 0, pageSize))
	}
	last := len(w.pages) - 1
	w.pages[last] = append(w.pages[last], entry{d, uint32(nid)})
	w.n++
	w.table[slot] = uint32(w.n)
	if w.n > len(w.table)/2 {
		w.grow()
	}
	return nil
}

func (w *Writer) at(n int) *entry { return &w.pages[n/pageSize][n%pageSize] }

// slot is where the table has the object, or would have it. Digests are as good as random, but whoever
// makes an image may choose its files: the worst that gives is a slow pull.
func (w *Writer) slot(d object.Digest) uint32 {
	mask := uint32(len(w.table) - 1)
	at := (uint32(d[4]) | uint32(d[5])<<8 | uint32(d[6])<<16 | uint32(d[7])<<24) & mask
	for w.table[at] != 0 && w.at(int(w.table[at]-1)).digest != d {
		at = (at + 1) & mask
	}
	return at
}

func (w *Writer) grow() {
	w.table = make([]uint32, 2*len(w.table))
	for n := range w.n {
		w.table[w.slot(w.at(n).digest)] = uint32(n + 1)
	}
}

// Finish completes the pack and returns its size in bytes. The writer is of no use after it.
func (w *Writer) Finish() (int64, error) {
	all := make([]entry, 0, w.n)
	for _, page := range w.pages {
		all = append(all, page...)
	}
	w.pages, w.table = nil, nil
	order.By(all, func(a, b entry) int { return bytes.Compare(a.digest[:], b.digest[:]) })
	sum := sha256.New()
	root := erofs.Dir{Inode: erofs.Inode{Mode: unix.S_IFDIR | 0o755}}
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].digest[0]>>4 == all[0].digest[0]>>4 {
			n++
		}
		root.Entries = append(root.Entries, directory(all[:n]))
		for _, e := range all[:n] {
			sum.Write(e.digest[:])
		}
		all = all[n:]
	}
	w.erofs.SetUUID(uuid8([16]byte(sum.Sum(nil))))
	size, err := w.erofs.Finish(&root)
	if err != nil {
		return 0, fmt.Errorf("finish pack: %w", err)
	}
	return size, nil
}

// directory makes the directory of the objects that begin with one digit. Its names take three times the memory of
// the digests, so they are there only while they are written.
func directory(all []entry) erofs.Entry {
	dir := &erofs.Dir{Inode: erofs.Inode{Mode: unix.S_IFDIR | 0o755}, Lazy: func() []erofs.Entry {
		list := make([]erofs.Entry, len(all))
		for n := range all {
			list[n] = erofs.Entry{Name: all[n].digest.Path()[2:], NID: erofs.NID(all[n].nid), Type: unix.S_IFREG}
		}
		return list
	}}
	return erofs.Entry{Name: all[0].digest.Path()[:1], Type: unix.S_IFDIR, Dir: dir}
}

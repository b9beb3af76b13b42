package store

import (
	"fmt"
	"io"

	digest "github.com/opencontainers/go-digest"

	"tare.dev/tare/internal/object"
)

// A Repair puts good bytes in the place of damaged ones. Close ends it, and makes it last.
type Repair struct {
	store *Store
	share *Lock
	put   *object.Writer
	want  map[object.Digest]int64
	sizes map[int64]int
	fixed int
	packs []digest.Digest // of small files, to be made anew
}

// Repair begins the repair of damaged objects.
func (s *Store) Repair(damaged []Damage) (*Repair, error) {
	share, err := s.share()
	if err != nil {
		return nil, err
	}
	r := &Repair{
		store: s, share: share, put: s.objects.NewWriter(known(nil), 0),
		want: map[object.Digest]int64{}, sizes: map[int64]int{},
	}
	for _, d := range damaged {
		if d.Pack {
			r.packs = append(r.packs, digestOf(d.Object))
			continue
		}
		if d.Object != (object.Digest{}) {
			r.want[d.Object] = d.Size
			r.sizes[d.Size]++
		}
	}
	return r, nil
}

// Left is how many objects still want repair.
func (r *Repair) Left() int { return len(r.want) }

// Fixed is how many were repaired.
func (r *Repair) Fixed() int { return r.fixed }

// Wants tells whether any damaged object has that size: others need not be read.
func (r *Repair) Wants(size int64) bool { return r.sizes[size] > 0 }

// Offer looks whether size bytes of r are one of the damaged objects, and puts them there. open is called
// a second time for one that is.
func (r *Repair) Offer(open func() (io.ReadCloser, error), size int64) error {
	if !r.Wants(size) {
		return nil
	}
	f, err := open()
	if err != nil {
		return err
	}
	d, err := object.Sum(f)
	f.Close()
	if err != nil {
		return err
	}
	if _, ok := r.want[d]; !ok {
		return nil
	}
	if f, err = open(); err != nil {
		return err
	}
	defer f.Close()
	return r.Put(f, d, size)
}

// Take reads an object from a stream that comes once. One that nobody wants costs its hash, and a write
// to a file without a name when its size is that of a wanted one.
func (r *Repair) Take(from io.Reader, size int64) error {
	if !r.Wants(size) {
		_, err := io.CopyN(io.Discard, from, size)
		return err
	}
	d, err := r.put.ReplaceIf(from, size, func(d object.Digest) bool { _, ok := r.want[d]; return ok })
	if err != nil {
		return err
	}
	r.done(d)
	return nil
}

// Put puts bytes that are said to be the object.
func (r *Repair) Put(from io.Reader, d object.Digest, size int64) error {
	if err := r.put.Replace(from, d, size); err != nil {
		return err
	}
	r.done(d)
	return nil
}

func (r *Repair) done(d object.Digest) {
	size, ok := r.want[d]
	if !ok {
		return
	}
	delete(r.want, d)
	r.sizes[size]--
	r.fixed++
}

// Close packs the good files of damaged packs anew, and returns when what was repaired lasts.
func (r *Repair) Close() error {
	defer r.share.Close()
	if err := r.close(); err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	return nil
}

func (r *Repair) close() error {
	if r.fixed > 0 {
		if err := r.store.barrier(); err != nil {
			return err
		}
	}
	if len(r.packs) == 0 {
		return nil
	}
	if err := r.store.repack(repacking{old: r.packs, lossy: true}); err != nil {
		return err
	}
	r.fixed += len(r.packs)
	r.packs = nil
	return nil
}

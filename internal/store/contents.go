package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/order"
	"tare.dev/tare/internal/pack"
)

// Contents opens the files of an image wherever they are, but for those in compressed packs. It is for one
// goroutine.
type Contents struct {
	store *Store
	packs []*Tree
	files []packedFile // sorted
}

type packedFile struct {
	digest object.Digest
	nid    uint32 // as the writer's, of 29 bits
	pack   uint32
}

// Contents prepares to read the files of an image, which the caller keeps from being removed.
func (s *Store) Contents(i *Image) (*Contents, error) {
	c := &Contents{store: s}
	if err := c.open(i); err != nil {
		c.Close()
		return nil, fmt.Errorf("image %s: %w", i.Digest, err)
	}
	return c, nil
}

func (c *Contents) open(i *Image) error {
	own, err := i.SmallPacks()
	if err != nil {
		return err
	}
	for _, d := range own {
		t, err := openTree(c.store.PackPath(d))
		if err != nil {
			return fmt.Errorf("pack %s: %w", d, err)
		}
		at := uint32(len(c.packs))
		c.packs = append(c.packs, t)
		err = pack.Names(t.Image, func(o object.Digest, nid erofs.NID) error {
			c.files = append(c.files, packedFile{o, uint32(nid), at})
			return nil
		})
		if err != nil {
			return fmt.Errorf("pack %s: %w", d, err)
		}
	}
	order.By(c.files, func(a, b packedFile) int { return compareDigests(a.digest, b.digest) })
	return nil
}

// Open opens a file to read, and tells its size. One that is in no place it could be in is fs.ErrNotExist.
func (c *Contents) Open(d object.Digest) (io.ReadCloser, int64, error) {
	f, err := c.store.objects.Open(d)
	if errors.Is(err, fs.ErrNotExist) {
		return c.small(d)
	}
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

func (c *Contents) small(d object.Digest) (io.ReadCloser, int64, error) {
	n, ok := slices.BinarySearchFunc(c.files, d, func(f packedFile, d object.Digest) int { return compareDigests(f.digest, d) })
	if !ok {
		return nil, 0, fmt.Errorf("object %s: %w", d, fs.ErrNotExist)
	}
	data, err := readPacked(c.packs[c.files[n].pack].Image, d, erofs.NID(c.files[n].nid))
	if err != nil {
		return nil, 0, err
	}
	return io.NopCloser(bytes.NewReader(data)), int64(len(data)), nil
}

// Close closes the packs.
func (c *Contents) Close() error {
	var errs []error
	for _, p := range c.packs {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// openTree opens an EROFS image.
func openTree(path string) (*Tree, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	t, err := erofs.Open(f, st.Size())
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Tree{t, f}, nil
}

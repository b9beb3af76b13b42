package store

import (
	"bytes"
	"slices"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
)

// known is the objects that committed images refer to, sorted by digest: 40 bytes each, in one
// piece of memory.
type known []item

type item struct {
	digest object.Digest
	size   int64
}

// known reads all trees.
func (s *Store) known() (known, error) {
	images, err := s.Images()
	if err != nil {
		return nil, err
	}
	var all known
	for _, i := range images {
		if err := i.Objects(func(d object.Digest, size int64) error {
			all = append(all, item{d, size})
			return nil
		}); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, compareItems)
	return slices.Compact(all), nil
}

func compareItems(a, b item) int { return bytes.Compare(a.digest[:], b.digest[:]) }

// Trusted tells whether a committed image refers to the object.
func (k known) Trusted(d object.Digest) bool {
	_, ok := slices.BinarySearchFunc(k, item{digest: d}, compareItems)
	return ok
}

// OfSize lists the objects of that size.
func (k known) OfSize(size int64) []object.Digest {
	var all []object.Digest
	for _, x := range k {
		if x.size == size {
			all = append(all, x.digest)
		}
	}
	return all
}

// Objects calls visit for each object the image's tree refers to, as often as a file does.
func (i *Image) Objects(visit func(object.Digest, int64) error) error {
	t, err := i.Tree()
	if err != nil {
		return err
	}
	defer t.Close()
	return t.Walk(func(_ string, _ erofs.NID, in *erofs.Inode) error {
		if in.Mode&unix.S_IFMT != unix.S_IFREG || in.Redirect == "" {
			return nil
		}
		d, err := object.ParseRedirect(in.Redirect)
		if err != nil {
			return err
		}
		return visit(d, in.Size)
	})
}

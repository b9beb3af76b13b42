package store

import (
	"bytes"
	"errors"
	"slices"

	"tare.dev/tare/internal/object"
)

// known is objects that committed images refer to, sorted by digest: 40 bytes each, in one
// piece of memory.
type known []item

type item struct {
	digest object.Digest
	size   int64
}

// needed reads all trees, or fails: who removes what is not in it must know them all. Of an image that
// a container holds it has small files that are in packs, too: the container may be over fewer packs than the image
// is by now.
func (s *Store) needed() (known, error) {
	images, err := s.Images()
	if err != nil {
		return nil, err
	}
	return s.listed(images, func(i *Image) (digests, error) {
		var held *HeldError
		if err := s.held(i.Digest); errors.As(err, &held) {
			return s.fetched(i)
		} else if err != nil {
			return nil, err
		}
		return s.packed(i)
	})
}

// trusted is what a new image may take without reading it: the objects of each image that can be read. One that
// is damaged keeps no other from being fetched, nor itself from being repaired.
func (s *Store) trusted() (known, error) {
	images, err := s.Images()
	if err != nil {
		return nil, err
	}
	var all known
	for n := range images {
		if of, err := s.looseOf(images[n : n+1]); err == nil {
			all = append(all, of...)
		}
	}
	slices.SortFunc(all, compareItems)
	return slices.Compact(all), nil
}

// looseOf is the objects of images that are files by themselves. What a damaged pack of small files may have had
// counts as such, too: it may not go, and it is missing.
func (s *Store) looseOf(images []*Image) (known, error) { return s.listed(images, s.packed) }

// listed is the objects of images but for those in packs.
func (s *Store) listed(images []*Image, packs func(*Image) (digests, error)) (known, error) {
	var all known
	for _, i := range images {
		err := loose(i, packs, func(_ string, d object.Digest, size int64) error {
			all = append(all, item{d, size})
			return nil
		})
		if err != nil && i.there() {
			return nil, err
		}
	}
	slices.SortFunc(all, compareItems)
	return slices.Compact(all), nil
}

// loose calls visit for each file of an image that is in none of the packs.
func loose(i *Image, packs func(*Image) (digests, error), visit func(path string, d object.Digest, size int64) error) error {
	packed, err := packs(i)
	if err != nil {
		return err
	}
	return i.Objects(func(path string, d object.Digest, size int64) error {
		if packed.has(d) {
			return nil
		}
		return visit(path, d, size)
	})
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

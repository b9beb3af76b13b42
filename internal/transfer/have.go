package transfer

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/order"
	"tare.dev/tare/internal/store"
)

// have is what contents of files a store has, by digest: objects, and the small files that are in packs or stand in
// the trees of images.
type have struct {
	stage   *store.Stage // of the image in the making
	objects *object.Dir
	trusted []object.Digest // sorted: images refer to them
	small   []smallFile     // sorted
	trees   []*store.Tree
	good    map[object.Digest]bool // that were hashed since
}

type smallFile struct {
	digest object.Digest
	tree   int
	nid    erofs.NID
}

// newHave reads all trees, which close closes.
func newHave(s *store.Store) (*have, error) {
	h := &have{objects: s.Objects(), good: map[object.Digest]bool{}}
	images, err := s.Images()
	if err != nil {
		return nil, err
	}
	for _, i := range images {
		t, err := i.Tree()
		if err != nil {
			continue // removed meanwhile, or damaged: what it has is fetched
		}
		h.trees = append(h.trees, t)
		if err := t.Walk(h.visit); err != nil {
			h.close()
			return nil, fmt.Errorf("image %s: %w", i.Digest, err)
		}
	}
	order.By(h.trusted, compareDigests)
	h.trusted = slices.Compact(h.trusted)
	order.By(h.small, func(a, b smallFile) int { return compareDigests(a.digest, b.digest) })
	h.small = slices.CompactFunc(h.small, func(a, b smallFile) bool { return a.digest == b.digest })
	return h, nil
}

func (h *have) visit(_ string, nid erofs.NID, in *erofs.Inode) error {
	if in.Mode&unix.S_IFMT != unix.S_IFREG || in.Size == 0 {
		return nil
	}
	if in.Redirect != "" {
		d, err := object.ParseRedirect(in.Redirect)
		if err == nil {
			h.trusted = append(h.trusted, d)
		}
		return err
	}
	if int64(len(in.Data)) == in.Size {
		h.small = append(h.small, smallFile{sha256.Sum256(in.Data), len(h.trees) - 1, nid})
	}
	return nil
}

func compareDigests(a, b object.Digest) int { return bytes.Compare(a[:], b[:]) }

// has tells whether contents are there. Of an object that no image refers to, such as one of a
// pull that was cut off, the name proves nothing: it is hashed.
func (h *have) has(d object.Digest, size int64) (bool, error) {
	if _, ok := h.find(d); ok || h.good[d] {
		return true, nil
	}
	if size <= store.Small {
		return h.stage.Has(d, size)
	}
	got, ok, err := h.objects.Stat(d)
	if err != nil || !ok || got != size {
		return false, err
	}
	if _, ok := slices.BinarySearchFunc(h.trusted, d, compareDigests); !ok {
		if _, err := h.objects.Verify(d); errors.Is(err, object.ErrDamaged) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	h.good[d] = true
	return true, nil
}

func (h *have) find(d object.Digest) (int, bool) {
	return slices.BinarySearchFunc(h.small, d, func(s smallFile, d object.Digest) int { return compareDigests(s.digest, d) })
}

// data reads a small file that stands in a tree; nil when it does not.
func (h *have) data(d object.Digest) ([]byte, error) {
	n, ok := h.find(d)
	if !ok {
		return nil, nil
	}
	in, err := h.trees[h.small[n].tree].Inode(h.small[n].nid)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(in.Data) != d {
		return nil, fmt.Errorf("file %s in a tree: %w", d, object.ErrDamaged)
	}
	return in.Data, nil
}

func (h *have) close() {
	for _, t := range h.trees {
		t.Close() // which was only read
	}
}

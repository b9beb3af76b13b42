package store

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	digest "github.com/opencontainers/go-digest"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/order"
	"tare.dev/tare/internal/pack"
)

// A repacking makes one pack of those files in packs that an image still needs and that are good, and has the
// images use it in their place. The old ones stay until the next gc: a container may be about to mount them.
// Trees name files by their digests alone, so nothing else changes.
type repacking struct {
	old     []digest.Digest
	reserve int64 // of the file system, that stays free
	lossy   bool  // files that cannot be read are left behind; else they are an error
}

func (s *Store) repack(r repacking) error {
	return s.placing(func() error {
		images, err := s.Images()
		if err != nil {
			return err
		}
		return s.repackIn(r, images)
	})
}

func (s *Store) repackIn(r repacking, images []*Image) error {
	dir, own, err := s.ownTmp()
	if err != nil {
		return err
	}
	defer func() {
		os.RemoveAll(dir)
		own.Close()
	}()
	images = slices.DeleteFunc(slices.Clone(images), func(i *Image) bool { return !i.uses(r.old) })
	live, err := s.liveIn(images)
	if err != nil {
		return err
	}
	b := &batch{dir: dir, put: s.objects.NewWriter(known(nil), r.reserve)}
	defer b.close()
	for _, d := range r.old {
		err := s.openPack(d, func(im *erofs.Image) error { return b.copy(im, live, r.lossy) })
		if b.err != nil {
			return b.err
		}
		if err != nil && !r.lossy { // else it has nothing more to give
			return fmt.Errorf("pack %s: %w", d, err)
		}
	}
	made, err := b.finish(s)
	if err != nil {
		return err
	}
	return s.relist(r.old, made, images, dir)
}

// relist has images use a pack in the place of others. dir is for what is unfinished.
func (s *Store) relist(old []digest.Digest, made digest.Digest, images []*Image, dir string) error {
	list := func(n int) string { return filepath.Join(dir, fmt.Sprint(packsFile, n)) }
	for n, i := range images {
		if err := i.relist(old, made, list(n)); err != nil && i.there() {
			return err
		}
	}
	// Not the pack alone: a list that takes the place of another before its bytes last is zeros after a cut.
	if err := s.barrier(); err != nil {
		return err
	}
	for n, i := range images {
		if err := os.Rename(list(n), filepath.Join(i.dir, packsFile)); err != nil && i.there() {
			return err
		}
	}
	return s.barrier()
}

// uses tells whether the image is mounted over one of the packs.
func (i *Image) uses(packs []digest.Digest) bool {
	own, err := i.SmallPacks()
	return err == nil && slices.ContainsFunc(own, func(d digest.Digest) bool { return slices.Contains(packs, d) })
}

// liveIn is the small files that images need, wherever they are.
func (s *Store) liveIn(images []*Image) (digests, error) {
	var all digests
	for _, i := range images {
		err := i.Objects(func(_ string, d object.Digest, size int64) error {
			if size <= Small {
				all = append(all, d)
			}
			return nil
		})
		if err != nil && i.there() {
			return nil, err
		}
	}
	order.By(all, compareDigests)
	return slices.Compact(all), nil
}

// copy takes what is good and needed from another pack. An error of writing is kept in b.err.
func (b *batch) copy(im *erofs.Image, live digests, lossy bool) error {
	return pack.Names(im, func(d object.Digest, nid erofs.NID) error {
		if !live.has(d) || b.w != nil && b.w.Has(d) {
			return nil
		}
		data, err := readPacked(im, d, nid)
		if err != nil && lossy {
			return nil //nolint:nilerr // damaged: whoever repairs it has it already, as a file of its own
		}
		if err != nil {
			return err
		}
		b.err = b.add(d, data)
		return b.err
	})
}

// readPacked reads a small file from a pack and checks it.
func readPacked(im *erofs.Image, d object.Digest, nid erofs.NID) ([]byte, error) {
	r, err := im.Contents(nid)
	if err != nil {
		return nil, err
	}
	if r.Size() > Small {
		return nil, fmt.Errorf("object %s: of %d bytes in a pack of small ones: %w", d, r.Size(), object.ErrDamaged)
	}
	data, err := io.ReadAll(r)
	if err == nil && sha256.Sum256(data) != d {
		err = fmt.Errorf("object %s: %w", d, object.ErrDamaged)
	}
	return data, err
}

// relist writes what is to be the image's list of packs.
func (i *Image) relist(old []digest.Digest, made digest.Digest, path string) error {
	own, err := i.SmallPacks()
	if err != nil {
		return err
	}
	own = slices.DeleteFunc(own, func(d digest.Digest) bool { return slices.Contains(old, d) })
	if made != "" {
		own = append(own, made)
	}
	return os.WriteFile(path, packList(own), 0o444)
}

// scrubPack reads a pack of small files from the medium, and reports those of its files that are bad, and then
// itself. Files that it has lost are reported as missing, by themselves.
func (s *Store) scrubPack(p digest.Digest, report func(d object.Digest, why string)) error {
	why := s.packGood(p)
	if why == nil {
		return nil
	}
	self, err := object.Parse(p.Encoded())
	if err != nil {
		return err
	}
	report(self, why.Error())
	_ = s.openPack(p, func(im *erofs.Image) error {
		return pack.Names(im, func(d object.Digest, nid erofs.NID) error {
			_, err := readPacked(im, d, nid)
			if err == nil {
				return nil
			}
			if _, shadow := s.objects.Scrub(d); shadow != nil {
				report(d, "its bytes have another digest")
			}
			return nil
		})
	})
	return nil
}

// Packs of small files are made anew by gc when so many bytes in them are dead, and more than are not: a pack stays
// as long as any image needs one file of it.
const deadEnough = 1 << 20

// Packs of an image from which on gc makes one of them, and how many of the largest stay then. Without that each update
// would add one, and soon an image be over as many as it may: what is in others is written again with each update.
const (
	manyPacks    = maxOwnPacks
	largestPacks = 4
)

// compact makes packs anew of which most is dead, and one of many, where there is room for that and nothing in
// them is damaged.
func (s *Store) compact(images []*Image) error {
	live, err := s.liveIn(images)
	if err != nil {
		return err
	}
	var old, seen []digest.Digest
	for _, i := range images {
		own, err := i.SmallPacks()
		if err != nil {
			return err
		}
		for _, d := range own {
			if slices.Contains(seen, d) {
				continue
			}
			seen = append(seen, d)
			mostly, err := s.mostlyDead(d, live)
			if err != nil {
				return err
			}
			if mostly {
				old = append(old, d)
			}
		}
	}
	if err := s.remake(old); err != nil {
		return err
	}
	for _, i := range images {
		if err := s.merge(i); err != nil {
			return err
		}
	}
	return nil
}

// merge makes one of the smaller packs of an image that is over many.
func (s *Store) merge(i *Image) error {
	own, err := i.SmallPacks()
	if err != nil || len(own) < manyPacks {
		return err
	}
	size := func(d digest.Digest) int64 {
		st, err := os.Stat(s.PackPath(d))
		if err != nil {
			return 0
		}
		return st.Size()
	}
	order.By(own, func(a, b digest.Digest) int { return cmp.Compare(size(b), size(a)) })
	return s.remake(own[largestPacks:])
}

func (s *Store) remake(old []digest.Digest) error {
	if len(old) == 0 {
		return nil
	}
	err := s.repack(repacking{old: old, reserve: s.reserve})
	if spared(err) {
		return nil
	}
	return err
}

// spared is an error after which packs stay as they are: there is no room for a new one, or repair must
// see to the old ones first.
func spared(err error) bool {
	for _, e := range []error{
		object.ErrReserve, unix.ENOSPC, unix.EDQUOT, object.ErrDamaged, erofs.ErrCorrupt, unix.EIO, unix.EBADMSG, fs.ErrNotExist,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s *Store) mostlyDead(p digest.Digest, live digests) (bool, error) {
	var dead, alive int64
	err := s.openPack(p, func(im *erofs.Image) error {
		return pack.List(im, func(d object.Digest, size int64) error {
			if live.has(d) {
				alive += size
			} else {
				dead += size
			}
			return nil
		})
	})
	if spared(err) {
		return false, nil // repair's business
	}
	return dead > deadEnough && dead > alive, err
}

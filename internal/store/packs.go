package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/order"
	"tare.dev/tare/internal/pack"
)

// MediaTypePack is a layer that is a pack: objects compressed together (package pack). An image of packs
// has one layer of MediaTypeTree and, after it, the packs that hold its objects. Only its own: a pack with
// wrong bytes harms the image that names it, and no other.
const MediaTypePack = "application/vnd.tare.pack.v1.erofs"

const packSuffix = ".erofs"

// Packs is all packs that an image is mounted over: those it was fetched in, and those of its small files.
func (i *Image) Packs() ([]digest.Digest, error) {
	all, err := i.FetchedPacks()
	if err != nil {
		return nil, err
	}
	own, err := i.SmallPacks()
	return append(all, own...), err
}

// FetchedPacks is the packs an image of packs names, in order; none for other images.
func (i *Image) FetchedPacks() ([]digest.Digest, error) {
	m, _, err := i.Manifest()
	if err != nil {
		return nil, err
	}
	var all []digest.Digest
	for _, l := range m.Layers {
		if l.MediaType == MediaTypePack {
			all = append(all, l.Digest)
		}
	}
	return all, nil
}

// PackPath is where a pack is, to mount it.
func (s *Store) PackPath(d digest.Digest) string { return s.path("packs", d.Encoded()+packSuffix) }

// Pack takes a pack from a stream that is verified at its end. One that is there is hashed, and not
// written again. It returns the bytes written.
func (st *Stage) Pack(d v1.Descriptor, open func() (io.ReadCloser, error)) (int64, error) {
	if d.Digest.Algorithm() != digest.SHA256 {
		return 0, fmt.Errorf("pack %s: want a sha256 digest", d.Digest)
	}
	if st.store.packGood(d.Digest) == nil {
		return 0, nil
	}
	r, err := open()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	f, err := os.OpenFile(filepath.Join(st.dir, packName(d.Digest)), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o444)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := st.put.Room(d.Size); err != nil {
		return 0, err
	}
	n, err := io.Copy(f, r)
	if err != nil {
		return n, fmt.Errorf("pack %s: %w", d.Digest, err)
	}
	im, err := erofs.Open(f, n)
	if err == nil {
		err = pack.List(im, func(object.Digest, int64) error { return nil })
	}
	if err != nil {
		return n, fmt.Errorf("pack %s: %w", d.Digest, err)
	}
	st.packs = append(st.packs, d.Digest)
	return n, nil
}

func packName(d digest.Digest) string { return "pack-" + d.Encoded() }

// placePacks gives new packs their names, before the barrier that makes an image's content last.
func (st *Stage) placePacks() error {
	for _, d := range st.packs {
		if err := st.store.placePack(filepath.Join(st.dir, packName(d)), d); err != nil {
			return err
		}
	}
	st.packs = nil
	return nil
}

// placePack gives a new pack its name. One that is there and good stays: an image may have it already, and the
// bytes of the new one do not last yet.
func (s *Store) placePack(from string, d digest.Digest) error {
	err := os.Link(from, s.PackPath(d))
	if !errors.Is(err, fs.ErrExist) {
		return errors.Join(err, os.Remove(from))
	}
	if s.packGood(d) == nil {
		return os.Remove(from)
	}
	// A damaged one may still have what is wanted of it.
	if err := syncFile(from); err != nil {
		return err
	}
	return os.Rename(from, s.PackPath(d))
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// packGood hashes a pack.
func (s *Store) packGood(d digest.Digest) error {
	f, err := os.Open(s.PackPath(d))
	if err != nil {
		return err
	}
	defer f.Close()
	// From the medium: see object.Writer, of what the kernel could not write.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	got, err := digest.FromReader(f)
	if err != nil {
		return err
	}
	if got != d {
		return fmt.Errorf("pack %s: %w", d, object.ErrDamaged)
	}
	return nil
}

// Fetched calls visit for each object in the packs an image was fetched in.
func (s *Store) Fetched(i *Image, visit func(object.Digest)) error {
	all, err := s.fetched(i)
	for _, d := range all {
		visit(d)
	}
	return err
}

func (s *Store) fetched(i *Image) (digests, error) {
	packs, err := i.FetchedPacks()
	if err != nil {
		return nil, err
	}
	return s.inPacks(packs)
}

// packed is the objects in the packs of an image, but for those in packs of small files that cannot be read.
func (s *Store) packed(i *Image) (digests, error) {
	all, err := s.fetched(i)
	if err != nil {
		return nil, err
	}
	own, err := i.SmallPacks()
	if err != nil {
		return nil, err
	}
	for _, d := range own {
		some, err := s.inPacks([]digest.Digest{d})
		if err == nil {
			all = append(all, some...)
		}
	}
	order.By(all, compareDigests)
	return all, nil
}

// inPacks is the objects in packs.
func (s *Store) inPacks(packs []digest.Digest) (digests, error) {
	var all digests
	for _, d := range packs {
		if err := s.listPack(d, func(o object.Digest) { all = append(all, o) }); err != nil {
			return nil, fmt.Errorf("pack %s: %w", d, err)
		}
	}
	order.By(all, compareDigests)
	return all, nil
}

// digests are sorted.
type digests []object.Digest

func compareDigests(a, b object.Digest) int { return bytes.Compare(a[:], b[:]) }

func (all digests) has(d object.Digest) bool {
	_, ok := slices.BinarySearchFunc(all, d, compareDigests)
	return ok
}

func (s *Store) listPack(d digest.Digest, visit func(object.Digest)) error {
	return s.openPack(d, func(im *erofs.Image) error {
		return pack.Names(im, func(o object.Digest, _ erofs.NID) error {
			visit(o)
			return nil
		})
	})
}

// checkPacks makes sure that each object of a tree that was fetched, and not made here, is in a pack of
// its image: else the image would run until it opens a file that is not there.
func (st *Stage) checkPacks(packs []digest.Digest) error {
	have, err := st.store.inPacks(packs)
	if err != nil {
		return err
	}
	info, err := st.tree.Stat()
	if err != nil {
		return err
	}
	im, err := erofs.Open(st.tree, info.Size())
	if err != nil {
		return err
	}
	return im.Walk(func(path string, _ erofs.NID, in *erofs.Inode) error {
		if in.Redirect == "" {
			return nil
		}
		d, err := object.ParseRedirect(in.Redirect)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if !have.has(d) {
			return fmt.Errorf("%s: object %s is in no pack of the image", path, d)
		}
		return nil
	})
}

// gcPacks removes the packs that no image names.
func (s *Store) gcPacks(f *Freed, images []*Image) error {
	used := map[string]bool{}
	for _, i := range images {
		packs, err := i.Packs()
		if err != nil && i.there() {
			return err
		}
		for _, d := range packs {
			used[d.Encoded()+packSuffix] = true
		}
	}
	entries, err := os.ReadDir(s.path("packs"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if used[e.Name()] || !strings.HasSuffix(e.Name(), packSuffix) {
			continue
		}
		info, err := e.Info()
		if err == nil {
			f.Objects++
			f.Bytes += info.Size()
		}
		if err := os.Remove(s.path("packs", e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

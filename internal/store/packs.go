package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/pack"
)

// MediaTypePack is a layer that is a pack: objects compressed together (package pack). An image of packs
// has one layer of MediaTypeTree and, after it, the packs that hold its objects. Only its own: a pack with
// wrong bytes harms the image that names it, and no other.
const MediaTypePack = "application/vnd.tare.pack.v1.erofs"

const packSuffix = ".erofs"

// Packs is the packs an image of packs names, in order; none for other images.
func (i *Image) Packs() ([]digest.Digest, error) {
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
		if err := os.Rename(filepath.Join(st.dir, packName(d)), st.store.PackPath(d)); err != nil {
			return err
		}
	}
	st.packs = nil
	return nil
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

// Packed calls visit for each object in the packs of an image.
func (s *Store) Packed(i *Image, visit func(object.Digest)) error {
	packs, err := i.Packs()
	if err != nil {
		return err
	}
	for _, d := range packs {
		if err := s.listPack(d, visit); err != nil {
			return fmt.Errorf("pack %s: %w", d, err)
		}
	}
	return nil
}

// packed is the objects in the packs of an image.
func (s *Store) packed(i *Image) (map[object.Digest]bool, error) {
	all := map[object.Digest]bool{}
	return all, s.Packed(i, func(d object.Digest) { all[d] = true })
}

func (s *Store) listPack(d digest.Digest, visit func(object.Digest)) error {
	f, err := os.Open(s.PackPath(d))
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	im, err := erofs.Open(f, st.Size())
	if err != nil {
		return err
	}
	return pack.List(im, func(o object.Digest, _ int64) error {
		visit(o)
		return nil
	})
}

// checkPacks makes sure that each object of a tree that was fetched, and not made here, is in a pack of
// its image: else the image would run until it opens a file that is not there.
func (st *Stage) checkPacks(packs []digest.Digest) error {
	have := map[object.Digest]bool{}
	for _, d := range packs {
		path := st.store.PackPath(d)
		if _, err := os.Stat(path); err != nil {
			return err
		}
		if err := st.store.listPack(d, func(o object.Digest) { have[o] = true }); err != nil {
			return err
		}
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
		if !have[d] {
			return fmt.Errorf("%s: object %s is in no pack of the image", path, d)
		}
		return nil
	})
}

// gcPacks removes the packs that no image names.
func (s *Store) gcPacks(f *Freed) error {
	images, err := s.Images()
	if err != nil {
		return err
	}
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

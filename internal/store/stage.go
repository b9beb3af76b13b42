package store

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/object"
)

// A Stage is an image that is being made. Until Commit it is not there for anybody, and Close
// takes it back.
type Stage struct {
	store *Store
	dir   string
	own   *Lock // tells others that the directory's maker lives
	share *Lock
	tree  *os.File
	put   *object.Writer
	packs []digest.Digest // new ones, still in dir
	small *batch
}

// Stage begins an image.
func (s *Store) Stage() (*Stage, error) {
	st, err := s.stage()
	if err != nil {
		return nil, fmt.Errorf("stage image: %w", err)
	}
	return st, nil
}

func (s *Store) stage() (*Stage, error) {
	st := &Stage{store: s}
	if err := st.begin(); err != nil {
		st.Close()
		return nil, err
	}
	return st, nil
}

func (st *Stage) begin() (err error) {
	s := st.store
	if st.share, err = s.share(); err != nil {
		return err
	}
	if err := s.sweepTmp(); err != nil {
		return err
	}
	if st.dir, st.own, err = s.ownTmp(); err != nil {
		return err
	}
	if st.tree, err = os.OpenFile(filepath.Join(st.dir, newTree), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o444); err != nil {
		return err
	}
	known, err := s.trusted()
	if err != nil {
		return err
	}
	st.put = s.objects.NewWriter(known, s.reserve)
	st.small, err = s.newBatch(st.dir, st.put, known)
	return err
}

// ownTmp makes a directory below tmp/ and locks it. Another process may sweep it away in between.
func (s *Store) ownTmp() (string, *Lock, error) {
	for {
		dir := s.path("tmp", "image-"+randomName())
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", nil, err
		}
		l, err := lock(dir, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			_, err = os.Stat(dir)
		}
		switch {
		case err == nil:
			return dir, l, nil
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EWOULDBLOCK):
			os.Remove(dir)
			return "", nil, err
		}
	}
}

// Put makes an object of size bytes from r.
func (st *Stage) Put(r io.Reader, size int64) (object.Result, error) {
	if size <= Small {
		return st.small.Put(r, size)
	}
	return st.put.Put(r, size)
}

// Has tells whether a small file is there already.
func (st *Stage) Has(d object.Digest, size int64) (bool, error) { return st.small.has(d, size) }

// Take tells whether a small file is there already, and has the image use it.
func (st *Stage) Take(d object.Digest, size int64) (bool, error) { return st.small.take(d, size) }

// PlaceSmall ends the pack of the stage's small files without an image, for those that are made while this stage
// is open to use it. It returns all packs that the stage's files are in.
func (st *Stage) PlaceSmall() ([]digest.Digest, error) {
	d, err := st.small.finish(st.store)
	if err != nil || d == "" {
		return st.small.own(), err
	}
	return append(st.small.own(), d), nil
}

// UseSmall has the image use what another stage has placed.
func (st *Stage) UseSmall(packs []digest.Digest) {
	for _, d := range packs {
		st.small.know(st.store, d)
	}
	st.small.sort()
	st.small.prefer(packs)
}

// Tree is the file the metadata goes to.
func (st *Stage) Tree() io.WriterAt { return st.tree }

// Commit makes the image last, under the digest of its manifest, and gives it the names. It
// costs two barriers: what an image is made of must be on the medium before its name is.
func (st *Stage) Commit(d digest.Digest, manifest, config []byte, names ...string) (*Image, error) {
	i, err := st.commit(d, manifest, config, names, st.place)
	if err != nil {
		return nil, fmt.Errorf("commit image %s: %w", d, err)
	}
	return i, nil
}

// Replace is Commit in the place of an image that is there and damaged.
func (st *Stage) Replace(d digest.Digest, manifest, config []byte, names ...string) (*Image, error) {
	i, err := st.commit(d, manifest, config, names, st.replace)
	if err != nil {
		return nil, fmt.Errorf("replace image %s: %w", d, err)
	}
	return i, nil
}

func (st *Stage) commit(d digest.Digest, manifest, config []byte, names []string, place func(dir string) error) (*Image, error) {
	s := st.store
	if d.Algorithm() != digest.SHA256 {
		return nil, fmt.Errorf("want a sha256 digest")
	}
	if err := os.WriteFile(filepath.Join(st.dir, manifestFile), manifest, 0o444); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(st.dir, configFile), config, 0o444); err != nil {
		return nil, err
	}
	if err := st.placePacks(); err != nil {
		return nil, err
	}
	if err := st.complete(manifest); err != nil {
		return nil, err
	}
	if err := st.small.list(s); err != nil {
		return nil, err
	}
	if err := st.nameTree(); err != nil {
		return nil, err
	}
	if err := s.barrier(); err != nil {
		return nil, err
	}
	if err := s.placing(func() error { return place(s.path("images", d.Encoded())) }); err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := s.setRef(name, d); err != nil {
			return nil, err
		}
	}
	if err := s.barrier(); err != nil {
		return nil, errors.Join(err, st.withdraw(s.path("images", d.Encoded())))
	}
	return s.Image(d)
}

// withdraw takes the image's name back when it may not last: the next pull must not find it and
// believe in it.
func (st *Stage) withdraw(dir string) error {
	if st.dir != "" {
		return nil // it was there before us
	}
	back := st.store.path("tmp", "image-"+randomName())
	if err := os.Rename(dir, back); err != nil {
		return err
	}
	st.dir = back
	return nil
}

// place makes the stage the image's directory.
func (st *Stage) place(dir string) error { return st.placeOr(dir, false) }

// replace makes the stage the image that is there, even a good one.
func (st *Stage) replace(dir string) error { return st.placeOr(dir, true) }

// placeOr gives the stage the image's place, or puts its files there when another process was faster and its image is
// damaged, or always. A third process may remove that at any moment.
func (st *Stage) placeOr(dir string, always bool) error {
	there := Image{Digest: digest.NewDigestFromEncoded(digest.SHA256, filepath.Base(dir)), dir: dir}
	for ; ; time.Sleep(time.Millisecond) {
		if !always || !there.there() {
			err := unix.Rename(st.dir, dir)
			if err == nil {
				st.dir = ""
				return nil
			}
			if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
				return &fs.PathError{Op: "rename", Path: st.dir, Err: err}
			}
			if there.Check() == nil {
				return nil
			}
		}
		l, err := lock(dir, unix.LOCK_SH|unix.LOCK_NB)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EWOULDBLOCK) {
			continue // it is being removed, or has just got its place
		}
		if err != nil {
			return err
		}
		if l.at(dir) {
			return errors.Join(st.replaceFiles(dir), l.Close())
		}
		l.Close()
	}
}

// replaceFiles puts files of the stage in the place of the image's, one by one: each is right by itself, so a cut leaves
// some that are still damaged. The directory stays, because running containers have locked it.
func (st *Stage) replaceFiles(dir string) error {
	files, err := os.ReadDir(st.dir)
	if err != nil {
		return err
	}
	good := map[string]bool{}
	for _, f := range files {
		good[f.Name()] = true
		if err := os.Rename(filepath.Join(st.dir, f.Name()), filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	if files, err = os.ReadDir(dir); err != nil {
		return err
	}
	for _, f := range files { // a tree that another version wrote has another name
		if good[f.Name()] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

// complete checks an image of packs, whose tree was not made here.
func (st *Stage) complete(manifest []byte) error {
	var m v1.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return err
	}
	var packs []digest.Digest
	for _, l := range m.Layers {
		if l.MediaType == MediaTypePack {
			packs = append(packs, l.Digest)
		}
	}
	if packs == nil {
		return nil
	}
	return st.checkPacks(packs)
}

// nameTree gives the metadata its digest for a name: nothing else would tell later whether a
// bit of it has changed.
func (st *Stage) nameTree() error {
	size, err := st.tree.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(st.tree, 0, size)); err != nil {
		return err
	}
	from := filepath.Join(st.dir, newTree)
	return os.Rename(from, filepath.Join(st.dir, treePrefix+hex.EncodeToString(h.Sum(nil))+treeSuffix))
}

// Close removes what was not committed. Objects stay: the next pull takes them after it has
// hashed them, or gc removes them.
func (st *Stage) Close() error {
	if st.tree != nil {
		st.tree.Close()
	}
	if st.small != nil {
		st.small.close()
	}
	var err error
	if st.dir != "" {
		err = os.RemoveAll(st.dir)
	}
	for _, l := range []*Lock{st.own, st.share} {
		if l != nil {
			l.Close()
		}
	}
	return err
}

// sweepTmp removes what processes left that were killed.
func (s *Store) sweepTmp() error {
	entries, err := os.ReadDir(s.path("tmp"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := s.path("tmp", e.Name())
		if strings.HasPrefix(e.Name(), refPrefix) || e.Name() == resumeDir {
			continue // a moment's link, see sweepRefs; for the next pull
		}
		l, err := lock(name, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue // somebody lives who makes it, or it is gone
		}
		err = os.RemoveAll(name)
		l.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepRefs removes the links that killed commands left on their way to refs/. setRef makes one anew
// that is taken from it here.
func (s *Store) sweepRefs() error {
	links, err := filepath.Glob(s.path("tmp", refPrefix+"*"))
	for _, name := range links {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

func randomName() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

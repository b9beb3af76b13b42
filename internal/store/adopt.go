package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	digest "github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/order"
	"tare.dev/tare/internal/tree"
)

// MediaTypeTree is the layer of an image that never was a tar stream: its metadata image.
const MediaTypeTree = "application/vnd.tare.tree.v1.erofs"

// Inline is the largest file of an adopted system, in bytes, that stands in its tree, and not as an object: small
// ones may be edited in place.
const Inline = 2048

// AdoptOptions of Adopt. Inline is the largest file that stands in the tree, in bytes.
type AdoptOptions struct {
	Name   string // the image is called so
	Skip   []string
	Inline int64
	Arch   string
	Limits tree.Limits
	// Waiting is told of a file that is waited for, because another program has locked it (flock(2)); may be nil.
	Waiting func(path string)
}

// DefaultSkip is what of a system changes while it runs, or is not its own.
func DefaultSkip() []string {
	return []string{
		"/dev", "/proc", "/sys", "/run", "/tmp", "/var", "/home", "/root", "/mnt", "/media", "/srv", "/boot", "/lost+found",
		"/etc",
	}
}

// Adopted is what Adopt did.
type Adopted struct {
	Image *Image
	Files int   // regular files in the tree
	Left  int   // files that are not, because others than root may change them
	Bytes int64 // of them
	Saved int64 // bytes of objects that were in the store before, and are now one inode with the file
}

// Adopt makes a directory tree an image without a copy: its files become the objects. So a container
// that has the same library maps the same pages as the base system. The files must not change in place
// afterwards (what package managers do, a new file under the old name, is no such change), and must
// be on the store's file system. Files that others than root may change are left out.
func (s *Store) Adopt(ctx context.Context, dir string, o AdoptOptions) (Adopted, error) {
	a, err := s.adopt(ctx, dir, o)
	if err != nil {
		return a, fmt.Errorf("adopt %s: %w", dir, err)
	}
	return a, nil
}

func (s *Store) adopt(ctx context.Context, dir string, o AdoptOptions) (Adopted, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Adopted{}, err
	}
	defer root.Close()
	stage, err := s.Stage()
	if err != nil {
		return Adopted{}, err
	}
	defer stage.Close()
	// A file may take the place of an object that an image has already, so it must be on the medium
	// before: a cut would cost that image what it had.
	if err := s.barrier(); err != nil {
		return Adopted{}, err
	}
	w := adopter{ctx: ctx, store: s, root: root, o: o, b: tree.NewBuilder(stage.Tree(), o.Limits), seen: map[uint64]string{}}
	if w.dev, w.skip, err = s.boundary(dir, o.Skip); err != nil {
		return Adopted{}, err
	}
	if err := w.walk("."); err != nil {
		return w.done, err
	}
	size, err := w.b.Finish()
	if err != nil {
		return w.done, err
	}
	manifest, config, err := stage.describe(size, o)
	if err != nil {
		return w.done, err
	}
	w.done.Image, err = stage.Commit(digest.FromBytes(manifest), manifest, config, o.Name)
	return w.done, err
}

// boundary is the file system that is adopted, and what is left out: the store itself is below "/".
func (s *Store) boundary(dir string, skip []string) (uint64, []string, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, nil, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	own, err := filepath.Rel(dir, s.dir)
	if err == nil && !strings.HasPrefix(own, "..") {
		skip = append(slices.Clone(skip), "/"+own)
	}
	return uint64(st.Dev), skip, nil
}

type adopter struct {
	ctx   context.Context
	store *Store
	root  *os.Root
	dev   uint64
	skip  []string
	o     AdoptOptions
	b     *tree.Builder
	seen  map[uint64]string // inodes of several names
	done  Adopted
}

// walk adds a directory and what is in it, in the order of names: the same tree, the same bytes.
func (w *adopter) walk(dir string) error {
	d, err := w.root.Open(dir)
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	d.Close()
	if err != nil {
		return err
	}
	if err := w.add(dir); err != nil {
		return err
	}
	order.By(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		name := filepath.Join(dir, e.Name())
		if slices.Contains(w.skip, "/"+name) {
			continue
		}
		add := w.add
		if e.IsDir() {
			other, err := w.mounted(name)
			if err != nil {
				return err
			}
			if !other {
				add = w.walk
			}
		}
		if err := add(name); err != nil {
			return err
		}
	}
	return nil
}

// mounted tells whether another file system is there: its directory is kept, empty.
func (w *adopter) mounted(name string) (bool, error) {
	info, err := w.root.Lstat(name)
	if err != nil {
		return false, err
	}
	return uint64(stat(info).Dev) != w.dev, nil
}

func (w *adopter) add(name string) error {
	info, err := w.root.Lstat(name)
	if err != nil {
		return err
	}
	st := stat(info)
	in := erofs.Inode{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid, Rdev: uint64(st.Rdev),
		Mtime: info.ModTime().Unix(), MtimeNsec: uint32(info.ModTime().Nanosecond()),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return nil // a process made it, and another will
	case unix.S_IFLNK:
		target, err := w.root.Readlink(name)
		if err != nil {
			return err
		}
		in.Data, in.Size = []byte(target), int64(len(target))
	case unix.S_IFREG:
		if first, ok := w.seen[st.Ino]; ok && st.Nlink > 1 {
			return w.b.Link(name, first)
		}
		err := w.contents(name, &in)
		if errors.Is(err, errChangeable) {
			w.done.Left++
			return nil
		}
		if err != nil {
			return err
		}
		if st.Nlink > 1 {
			w.seen[st.Ino] = name
		}
	}
	if in.Xattrs, err = w.xattrs(name); err != nil {
		return err
	}
	return w.b.Add(name, in)
}

// errChangeable is a file that must not be an object: who writes to it would write to every image that has it.
var errChangeable = errors.New("others than root may change it")

// changeable tells whether others than root may write to a file, or give themselves the right to. What an access
// control list allows shows in the group's bits (acl(5)).
func changeable(st *syscall.Stat_t) bool { return st.Uid != 0 || st.Mode&0o022 != 0 }

// contents hashes a file, and makes it an object.
func (w *adopter) contents(name string, in *erofs.Inode) error {
	f, err := w.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	in.Size = info.Size()
	if in.Size > w.o.Inline && changeable(stat(info)) {
		return errChangeable
	}
	w.done.Files++
	w.done.Bytes += in.Size
	if in.Size <= w.o.Inline {
		in.Data, err = io.ReadAll(io.LimitReader(f, w.o.Inline))
		in.Size = int64(len(in.Data))
		return err
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	if n != in.Size {
		return fmt.Errorf("%s: changed while it was read", name)
	}
	d := object.Digest(h.Sum(nil))
	was, err := w.take(f, d)
	w.done.Saved += was
	in.Redirect = d.Redirect()
	return err
}

// lockPause is how often a file is tried that is locked. To wait in the kernel could not be interrupted.
const lockPause = 100 * time.Millisecond

// take makes a file an object, when nobody has it locked.
func (w *adopter) take(f *os.File, d object.Digest) (was int64, err error) {
	for told := false; ; told = true {
		was, err = w.store.objects.Adopt(f, d)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return was, err
		}
		if !told && w.o.Waiting != nil {
			w.o.Waiting(f.Name())
		}
		select {
		case <-w.ctx.Done():
			return 0, err
		case <-time.After(lockPause):
		}
	}
}

func (w *adopter) xattrs(name string) ([]erofs.Xattr, error) {
	// os.Root has no call for this; the name was looked up in it a moment ago, and whoever
	// could change the base system under us needs no trick.
	path := filepath.Join(w.root.Name(), name)
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "listxattr", Path: path, Err: err}
	}
	var all []erofs.Xattr
	for key := range strings.SplitSeq(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		if key == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, key, value)
		if err != nil {
			return nil, &fs.PathError{Op: "getxattr " + key, Path: path, Err: err}
		}
		all = append(all, erofs.Xattr{Name: key, Value: value[:n]})
	}
	return all, nil
}

// describe makes the manifest and config of an image that has a tree and no tar stream.
func (st *Stage) describe(size int64, o AdoptOptions) (manifest, config []byte, err error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(st.tree, 0, size)); err != nil {
		return nil, nil, err
	}
	layer := digest.NewDigest(digest.SHA256, h)
	epoch := time.Unix(0, 0).UTC()
	config, err = json.Marshal(v1.Image{
		Created:  &epoch,
		Platform: v1.Platform{Architecture: o.Arch, OS: "linux"},
		RootFS:   v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer}},
	})
	if err != nil {
		return nil, nil, err
	}
	manifest, err = json.Marshal(v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config:    v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers:    []v1.Descriptor{{MediaType: MediaTypeTree, Digest: layer, Size: size}},
	})
	return manifest, config, err
}

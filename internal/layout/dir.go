package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// dirFiles is a directory. Links that lead out of it are not followed.
type dirFiles struct{ *os.Root }

func (d dirFiles) open(name string) (*file, error) {
	// O_NONBLOCK: the open of a FIFO would wait.
	f, err := d.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &file{ReaderAt: f, Closer: f, size: info.Size()}, nil
}

// A Dir is an OCI image layout that can be written to. Several may write to one at the same time.
type Dir struct {
	*Reader
	root *os.Root
}

// CreateDir opens the layout in a directory, and makes both where there are none.
func CreateDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{Reader: &Reader{path: path, files: dirFiles{root}}, root: root}
	err = d.locked(func() error {
		if _, err := root.Stat(v1.ImageLayoutFile); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if others, err := d.foreign(); err != nil || others != "" {
			return errors.Join(err, fmt.Errorf("is no image layout, and not empty: %s", others))
		}
		if err := root.MkdirAll(v1.ImageBlobsDir+"/sha256", 0o755); err != nil {
			return err
		}
		if err := d.write(v1.ImageIndexFile, []byte(`{"schemaVersion":2,"manifests":[]}`)); err != nil {
			return err
		}
		return d.write(v1.ImageLayoutFile, []byte(`{"imageLayoutVersion":"`+v1.ImageLayoutVersion+`"}`))
	})
	if err == nil {
		err = d.load()
	}
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("image layout %s: %w", path, err)
	}
	return d, nil
}

// foreign names a file in the directory that no layout has.
func (d *Dir) foreign() (string, error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	for _, e := range entries {
		switch e.Name() {
		case v1.ImageBlobsDir, v1.ImageIndexFile:
		default:
			if !strings.HasPrefix(e.Name(), tempPrefix) {
				return e.Name(), nil
			}
		}
	}
	return "", err
}

// locked runs fn while no other process that locks changes the layout. The lock is on
// the directory itself: a file for it would have to be explained to everybody.
func (d *Dir) locked(fn func() error) error {
	dir, err := d.root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := flock(dir); err != nil {
		return err
	}
	return fn()
}

func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			return os.NewSyscallError("flock", err)
		}
	}
}

// Put writes a blob, verified, under its digest.
func (d *Dir) Put(_ context.Context, blob v1.Descriptor, r io.Reader) error {
	name, err := blobPath(blob.Digest)
	if err == nil {
		err = d.replace(name, func(f *os.File) error { return copyVerified(f, blob, r) })
	}
	if err != nil {
		return fmt.Errorf("write blob %s to %s: %w", blob.Digest, d.path, err)
	}
	return nil
}

// PutManifest writes a manifest or index and lists it under a name, which it takes from
// any other; under none for ""; and not at all if name is a digest.
func (d *Dir) PutManifest(ctx context.Context, name string, m v1.Descriptor, text []byte) error {
	if err := d.Put(ctx, m, bytes.NewReader(text)); err != nil {
		return err
	}
	if name == string(m.Digest) {
		return nil
	}
	err := d.locked(func() error {
		old, err := d.document(v1.ImageIndexFile)
		if err != nil {
			return err
		}
		text, err := addToIndex(old, name, m)
		if err != nil {
			return err
		}
		if err := d.write(v1.ImageIndexFile, text); err != nil {
			return err
		}
		d.images, err = parseIndex(text)
		return err
	})
	if err != nil {
		return fmt.Errorf("list %q in %s: %w", name, d.path, err)
	}
	return nil
}

// addToIndex returns an index.json with one more image.
func addToIndex(text []byte, name string, m v1.Descriptor) ([]byte, error) {
	var index v1.Index
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", v1.ImageIndexFile, err)
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(old v1.Descriptor) bool {
		return old.Annotations[v1.AnnotationRefName] == name && (name != "" || old.Digest == m.Digest)
	})
	m = v1.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size, Platform: m.Platform}
	if name != "" {
		m.Annotations = map[string]string{v1.AnnotationRefName: name}
	}
	index.SchemaVersion = 2
	index.Manifests = append(index.Manifests, m)
	return json.MarshalIndent(index, "", "  ")
}

func (d *Dir) write(name string, text []byte) error {
	return d.replace(name, func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
}

const tempPrefix = ".tare-"

// replace writes a file so that there is the old one or the new one, whenever the power goes.
func (d *Dir) replace(name string, fill func(*os.File) error) error {
	temp := tempPrefix + randomText()
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = d.rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(d.root.Remove(temp)))
	}
	return nil
}

func (d *Dir) rename(from, to string) error {
	dir := filepath.Dir(to)
	if err := d.root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := d.root.Rename(from, to); err != nil {
		return err
	}
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

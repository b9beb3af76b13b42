package object

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A Dir is a directory of objects. Several processes may use it at once.
type Dir struct {
	path   string
	fd     int
	named  atomic.Bool // the file system has no O_TMPFILE, as a first object has shown
	first  sync.Once   // of the objects without a name
	verity bool        // the file system has fs-verity, as the first of them has shown
}

const hexDigits = "0123456789abcdef"

// Open opens the directory, and makes it and its 16 directories where they lack.
func Open(path string) (*Dir, error) {
	for _, c := range hexDigits {
		if err := os.MkdirAll(filepath.Join(path, string(c)), 0o755); err != nil {
			return nil, err
		}
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	d := &Dir{path: path, fd: fd}
	if err := d.sweep(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return d, nil
}

// Close gives the descriptor back.
func (d *Dir) Close() error { return unix.Close(d.fd) }

// Path is where the directory is.
func (d *Dir) Path() string { return d.path }

// Stat tells the size of an object, and whether it is there at all.
func (d *Dir) Stat(digest Digest) (size int64, ok bool, err error) {
	var st unix.Stat_t
	switch err := unix.Fstatat(d.fd, digest.Path(), &st, unix.AT_SYMLINK_NOFOLLOW); {
	case errors.Is(err, unix.ENOENT):
		return 0, false, nil
	case err != nil:
		return 0, false, d.fail("stat", digest, err)
	}
	return st.Size, true, nil
}

// Blocks tells how many bytes of the file system an object takes; 0 when it is not there.
func (d *Dir) Blocks(digest Digest) (int64, error) {
	var st unix.Stat_t
	switch err := unix.Fstatat(d.fd, digest.Path(), &st, unix.AT_SYMLINK_NOFOLLOW); {
	case errors.Is(err, unix.ENOENT):
		return 0, nil
	case err != nil:
		return 0, d.fail("stat", digest, err)
	}
	return st.Blocks * 512, nil // stat(2): in units of 512 bytes, whatever the file system's
}

// Open opens an object to read. Its bytes are not verified.
func (d *Dir) Open(digest Digest) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	// Reading must not write a time of access to flash.
	fd, err := unix.Openat(d.fd, digest.Path(), flags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) { // only the owner may ask for that
		fd, err = unix.Openat(d.fd, digest.Path(), flags, 0)
	}
	if err != nil {
		return nil, d.fail("open", digest, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.path, digest.Path())), nil
}

// bufferFor is of the size of a file, 64 KiB at most: most objects are small, and there are many.
func bufferFor(f *os.File) int {
	st, err := f.Stat()
	if err != nil {
		return 4096
	}
	return int(min(max(st.Size(), 4096), 64<<10))
}

// ErrDamaged is what an object is whose bytes do not have its digest.
var ErrDamaged = errors.New("damaged")

// Verify hashes an object. A wrong digest is ErrDamaged. It returns the bytes read.
func (d *Dir) Verify(digest Digest) (int64, error) {
	f, err := d.Open(digest)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.CopyBuffer(onlyWriter{h}, onlyReader{f}, make([]byte, bufferFor(f)))
	if err != nil {
		return n, fmt.Errorf("object %s: %w", digest, err)
	}
	if Digest(h.Sum(nil)) != digest {
		return n, fmt.Errorf("object %s: %w", digest, ErrDamaged)
	}
	return n, nil
}

// Sum is the digest of what a stream holds.
func Sum(r io.Reader) (Digest, error) {
	h := sha256.New()
	_, err := io.CopyBuffer(onlyWriter{h}, onlyReader{r}, make([]byte, 64<<10))
	return Digest(h.Sum(nil)), err
}

// Remove removes an object. One that is not there is no error.
func (d *Dir) Remove(digest Digest) error {
	if err := unix.Unlinkat(d.fd, digest.Path(), 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return d.fail("remove", digest, err)
	}
	return nil
}

// All calls visit for every object, with its size, in the order of the digests' first digit.
// Files that are no objects are left out.
func (d *Dir) All(visit func(Digest, int64) error) error {
	return d.Names(func(digest Digest) error {
		size, ok, err := d.Stat(digest)
		if err != nil || !ok {
			return err
		}
		return visit(digest, size)
	})
}

// Names is All without sizes: it looks at no object.
func (d *Dir) Names(visit func(Digest) error) error {
	for _, c := range hexDigits {
		entries, err := os.ReadDir(filepath.Join(d.path, string(c)))
		if err != nil {
			return err
		}
		for _, e := range entries {
			digest, err := Parse(string(c) + e.Name())
			if err != nil {
				continue
			}
			if err := visit(digest); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Dir) fail(op string, digest Digest, err error) error {
	return &fs.PathError{Op: op, Path: filepath.Join(d.path, digest.Path()), Err: err}
}

// The file and the hash without the methods by which io.CopyBuffer would pass the buffer over.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

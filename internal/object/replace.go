package object

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Replace puts an object whatever is there under its name: at each moment the name leads to the old
// bytes or to the new ones. Bytes of another digest are refused with ErrDamaged.
func (w *Writer) Replace(r io.Reader, digest Digest, size int64) error {
	got, err := w.ReplaceIf(r, size, func(d Digest) bool { return d == digest })
	if err == nil && got != digest {
		return fmt.Errorf("object %s: what came in its place: %w", digest, ErrDamaged)
	}
	return err
}

// ReplaceIf reads size bytes, and replaces their object when want says so of its digest.
func (w *Writer) ReplaceIf(r io.Reader, size int64, want func(Digest) bool) (Digest, error) {
	w.sum.Reset()
	if err := w.room(size); err != nil {
		return Digest{}, err
	}
	f, err := w.dir.create()
	if err != nil {
		return Digest{}, err
	}
	defer f.close()
	for f.size < size {
		part := w.chunk[:min(int64(len(w.chunk)), size-f.size)]
		if _, err := io.ReadFull(r, part); err != nil {
			return Digest{}, short(err)
		}
		w.sum.Write(part)
		if err := f.write(part); err != nil {
			return Digest{}, err
		}
	}
	digest := Digest(w.sum.Sum(nil))
	if !want(digest) {
		return digest, nil
	}
	if err := f.replace(digest); err != nil || !w.dir.verity {
		return digest, err
	}
	f.close()
	return digest, w.dir.seal(digest)
}

// replace gives the file its name, whoever has it.
func (f *file) replace(digest Digest) error {
	if err := unix.Ftruncate(f.fd, f.size); err != nil {
		return f.dir.fail("truncate", digest, err)
	}
	if f.name != "" {
		return f.dir.moveIn(f.name, digest)
	}
	if err := unix.Flock(f.fd, unix.LOCK_EX); err != nil { // see sweep
		return f.dir.fail("lock", digest, err)
	}
	tmp := filepath.Join(f.dir.path, "0", unfinished+digest.String())
	_ = os.Remove(tmp) // of a process that was killed here
	if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.fd), unix.AT_FDCWD, tmp, unix.AT_SYMLINK_FOLLOW); err != nil {
		return f.dir.fail("name", digest, err)
	}
	return f.dir.moveIn(tmp, digest)
}

func (d *Dir) moveIn(from string, digest Digest) error {
	if err := unix.Renameat(unix.AT_FDCWD, from, d.fd, digest.Path()); err != nil {
		_ = os.Remove(from)
		return d.fail("name", digest, err)
	}
	return nil
}

// ErrOtherDevice is a file on another file system than the objects: it cannot be one of them.
var ErrOtherDevice = errors.New("on another file system than the store")

// Adopt makes a file that stands elsewhere on the same file system the object itself, whether or not
// the object was there: one inode then serves both. The file must never change again. It returns the bytes of
// the file that was the object before. One that another program has locked (flock(2)) is unix.EWOULDBLOCK.
func (d *Dir) Adopt(f *os.File, digest Digest) (was int64, err error) {
	var mine, theirs unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &theirs); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	if err := unix.Fstatat(d.fd, digest.Path(), &mine, unix.AT_SYMLINK_NOFOLLOW); err == nil {
		if mine.Dev == theirs.Dev && mine.Ino == theirs.Ino {
			return 0, nil
		}
		was = mine.Size
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { // see sweep
		return 0, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	tmp := filepath.Join(d.path, "0", unfinished+"adopt-"+digest.String())
	_ = os.Remove(tmp)
	err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, tmp, unix.AT_SYMLINK_FOLLOW)
	if errors.Is(err, unix.EXDEV) {
		return 0, fmt.Errorf("%s: %w", f.Name(), ErrOtherDevice)
	}
	if err != nil {
		return 0, &fs.PathError{Op: "link", Path: f.Name(), Err: err}
	}
	return was, d.moveIn(tmp, digest)
}

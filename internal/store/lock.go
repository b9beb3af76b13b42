package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// A Lock is held until Close, or until its process ends.
type Lock struct{ f *os.File }

// lock takes a flock(2) on a file or directory. It takes no write, and no file of its own.
func lock(path string, how int) (*Lock, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return &Lock{f}, nil
}

// Close lets go.
func (l *Lock) Close() error { return l.f.Close() }

// share is held by who adds objects: none is removed meanwhile.
func (s *Store) share() (*Lock, error) { return lock(s.path("objects"), unix.LOCK_SH) }

// exclude is held by who removes objects. It waits for those who add.
func (s *Store) exclude() (*Lock, error) { return lock(s.path("objects"), unix.LOCK_EX) }

// placing calls f while nobody else gives an image its place, or another list of packs. It comes under share
// or exclude, and nothing under it.
func (s *Store) placing(f func() error) error {
	l, err := lock(s.path("packs"), unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer l.Close()
	return f()
}

// Use keeps an image from being removed. A container holds it while it runs.
func (i *Image) Use() (*Lock, error) {
	for {
		l, err := lock(i.dir, unix.LOCK_SH)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("image %s: %w", i.Digest, ErrNotFound)
		}
		if err != nil {
			return nil, err
		}
		if l.at(i.dir) {
			return l, nil
		}
		l.Close() // it was removed while we waited
	}
}

// at tells whether what is locked is still what the path leads to.
func (l *Lock) at(path string) bool {
	mine, err := l.f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}

// Alone takes the image for one that nobody uses: then nil is returned with ok false.
func (i *Image) Alone() (l *Lock, ok bool, err error) {
	l, err = lock(i.dir, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, false, nil
	}
	return l, err == nil, err
}

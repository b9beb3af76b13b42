// Package store is the images of a device: each a tree, a manifest and a config,
// over one directory of objects.
//
// An image is there when its directory below images/ is, and then it is whole: its objects
// were on the medium before the directory got its name. So nothing needs a journal or a
// database, and what a power cut leaves is old images, new images and rubbish in tmp/ and
// objects/ that nobody refers to. An object that no image refers to is not trusted.
//
//	version                       the format, "2\n"
//	objects/a/bcd…                contents of regular files (package object)
//	packs/HEX.erofs               objects together: the small ones of a pull, or compressed ones
//	images/HEX/manifest.json      HEX is the digest of the manifest, without "sha256:"
//	images/HEX/config.json
//	images/HEX/tree-HEX.erofs     the metadata (packages tree and erofs), and its digest
//	images/HEX/packs              the packs of small files that it is mounted over
//	refs/NAME                     symbolic link to ../images/HEX
//	tmp/                          what is being made, locked by who makes it
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/object"
)

const (
	format      = "2\n"
	firstFormat = "1\n" // before packs of small files
)

// Options of a store. The zero value works.
type Options struct {
	// Reserve is how many bytes of the file system stay free; less than 0 means none, and 0 a
	// twentieth of the file system, 64 MiB at most.
	Reserve int64
	// Holders is directories of containers. Below each, NAME/image is the digest of an image that cannot
	// be removed: of one that a container runs from whose command was killed, or that its writable layer
	// is over, whose files refer to objects of the image.
	Holders []string
}

// A Store is open in this process; others may have it open too.
type Store struct {
	dir     string
	fd      int // for syncfs and locks; opened before anything is written
	objects *object.Dir
	reserve int64
	holders []string
	faults  faults
}

var (
	// ErrNotFound is an image that is not in the store.
	ErrNotFound = errors.New("no such image")
	// ErrAmbiguous is a short digest that several images begin with.
	ErrAmbiguous = errors.New("more than one image begins so")
	// ErrInUse is an image that a container runs from.
	ErrInUse = errors.New("in use by a container")
)

// Open opens the store in dir and makes it where it lacks.
func Open(dir string, o Options) (*Store, error) {
	s, err := open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func open(dir string, o Options) (*Store, error) {
	if err := checkFormat(dir); err != nil {
		return nil, err
	}
	for _, sub := range []string{"images", "refs", "packs", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	objects, err := object.Open(filepath.Join(dir, "objects"))
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	s := &Store{dir: dir, fd: fd, objects: objects, holders: o.Holders}
	if s.reserve, err = reserve(dir, o.Reserve); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// checkFormat refuses a store of a later Tare, and marks a new one.
func checkFormat(dir string) error {
	name := filepath.Join(dir, "version")
	have, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return os.WriteFile(name, []byte(format), 0o644)
	case err != nil:
		return err
	case strings.Trim(string(have), "\x00") == "":
		// The power was cut in the first moment, when nothing was committed yet, or the file could not
		// be written: its size lasts, and its bytes do not.
		return os.WriteFile(name, []byte(format), 0o644)
	case string(have) == firstFormat:
		// All that it has is understood; who does not know packs of small files must not touch it any more.
		return os.WriteFile(name, []byte(format), 0o644)
	case string(have) != format:
		return fmt.Errorf("%s: format %q is not %q: made by another version of tare", name, have, format)
	}
	return nil
}

func reserve(dir string, want int64) (int64, error) {
	switch {
	case want < 0:
		return 0, nil
	case want > 0:
		return want, nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return min(64<<20, int64(st.Blocks)*int64(st.Bsize)/20), nil
}

// Close gives the descriptors back.
func (s *Store) Close() error {
	s.objects.Close()
	return unix.Close(s.fd)
}

// Dir is where the store is.
func (s *Store) Dir() string { return s.dir }

// Objects is the directory of objects, to read.
func (s *Store) Objects() *object.Dir { return s.objects }

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// barrier returns when everything written to the file system so far is on the medium. From Linux
// 5.8 it also tells of writes that failed since the store was opened (syncfs(2)).
func (s *Store) barrier() error {
	if s.faults.leaveOut() {
		return nil
	}
	if err := unix.Syncfs(s.fd); err != nil {
		return &fs.PathError{Op: "syncfs", Path: s.dir, Err: err}
	}
	// A file system that went read-only after an error has nothing to write, and says that all is well.
	var st unix.Statfs_t
	if err := unix.Fstatfs(s.fd, &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: s.dir, Err: err}
	}
	if int64(st.Flags)&unix.ST_RDONLY != 0 {
		return &fs.PathError{Op: "syncfs", Path: s.dir, Err: unix.EROFS}
	}
	return nil
}

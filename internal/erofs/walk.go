package erofs

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Walk calls fn for the root, whose path is ".", and for all below it: directories before what is
// in them, names in the order of their bytes, paths like "usr/bin/env". Of a file with several
// names nid tells that it is the same. An error of fn ends the walk and is returned as it is.
// Walk refuses what single inodes cannot show: a directory that is there twice or does not know
// its parent, directories that overlap, a type that differs, a path of more than 16 KiB.
func (im *Image) Walk(fn func(path string, nid NID, in *Inode) error) error {
	w := walk{im: im, fn: fn, seen: map[NID]bool{}}
	in, err := im.Inode(im.root)
	if err != nil {
		return fmt.Errorf(".: %w", err)
	}
	if err := fn(".", im.root, &in); err != nil {
		return err
	}
	return w.dir(im.root, im.root)
}

type walk struct {
	im   *Image
	path []byte // of where the walk is, shared by all levels: each own copy would be quadratic
	fn   func(string, NID, *Inode) error
	seen map[NID]bool // directories
	size int64        // of all of them: they share no bytes, so no more than the image
}

// name of where the walk is, for errors.
func (w *walk) name() string {
	if len(w.path) == 0 {
		return "."
	}
	return string(w.path)
}

// dir walks the directory at w.path.
func (w *walk) dir(nid, parent NID) error {
	if w.seen[nid] {
		return fmt.Errorf("%s: directory %d has two names: %w", w.name(), nid, ErrCorrupt)
	}
	w.seen[nid] = true
	list, err := w.im.readDir(nid)
	if err != nil {
		return fmt.Errorf("%s: %w", w.name(), err)
	}
	if list.parent != parent {
		return fmt.Errorf("%s: .. is inode %d, not %d: %w", w.name(), list.parent, parent, ErrCorrupt)
	}
	if w.size += list.size; w.size > w.im.limit {
		return fmt.Errorf("%s: directories that overlap: %w", w.name(), ErrCorrupt)
	}
	above := len(w.path)
	for i := range list.entries {
		if above > 0 {
			w.path = append(w.path, '/')
		}
		w.path = append(w.path, list.entries[i].Name...)
		if err := w.entry(nid, &list.entries[i]); err != nil {
			return err
		}
		w.path = w.path[:above]
	}
	return nil
}

func (w *walk) entry(parent NID, e *Entry) error {
	if len(w.path) > maxPath {
		return fmt.Errorf("path of %d bytes: %w", len(w.path), ErrCorrupt)
	}
	in, err := w.im.Inode(e.NID)
	if err != nil {
		return fmt.Errorf("%s: %w", w.path, err)
	}
	if in.Mode&unix.S_IFMT != e.Type {
		return fmt.Errorf("%s: mode %#o in a directory that says %#o: %w", w.path, in.Mode, e.Type, ErrCorrupt)
	}
	if err := w.fn(string(w.path), e.NID, &in); err != nil {
		return err
	}
	if e.Type != unix.S_IFDIR {
		return nil
	}
	return w.dir(e.NID, parent)
}

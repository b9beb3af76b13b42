package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
)

func openTree(file string) (*erofs.Image, *os.File, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil {
		var img *erofs.Image
		if img, err = erofs.Open(f, st.Size()); err == nil {
			return img, f, nil
		}
	}
	f.Close()
	return nil, nil, fmt.Errorf("tree %s: %w", file, err)
}

// rootNames is the names in the root directory, and which of them are directories.
func rootNames(file string) (map[string]bool, error) {
	img, f, err := openTree(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names := map[string]bool{}
	entries, err := img.ReadDir(img.Root())
	for _, e := range entries {
		names[e.Name] = e.Type == unix.S_IFDIR
	}
	return names, err
}

var errFound = errors.New("found")

// check reads one file through the mount and compares it with its object: a kernel may take the
// options of an overlay and still not follow a redirect to the data.
func check(l Layout, mt Mount) error {
	if used, err := written(mt.Upper); err != nil || used {
		return err // a container ran on it before, and may have changed any file
	}
	img, f, err := openTree(mt.File)
	if err != nil {
		return err
	}
	defer f.Close()
	w := walker{layout: l, mount: mt, seen: make([]bool, len(mt.Data))}
	if err := img.Walk(w.visit); !errors.Is(err, errFound) {
		return err
	}
	return nil
}

// maxCheck is how many files are compared at most, in the hope of one from each place.
const maxCheck = 16

// A walker compares files until there was one from each directory of objects.
type walker struct {
	layout Layout
	mount  Mount
	seen   []bool // by directory of objects
	count  int
}

func (w *walker) visit(path string, _ erofs.NID, in *erofs.Inode) error {
	if in.Redirect == "" {
		return nil
	}
	at, err := compare(w.mount, path, in.Redirect)
	if w.layout.Tree == TreeStubs && errors.Is(err, os.ErrNotExist) {
		return nil // a small file, which stubs have themselves
	}
	if err != nil {
		return err
	}
	w.seen[at] = true
	if w.count++; w.count == maxCheck || !slices.Contains(w.seen, false) {
		return errFound
	}
	return nil
}

// written tells whether there is anything in an upper layer.
func written(upper string) (bool, error) {
	if upper == "" {
		return false, nil
	}
	names, err := os.ReadDir(upper)
	return len(names) > 0, err
}

// compare is of the first bytes: a redirect that is not followed shows zeros.
// It returns which directory has it.
func compare(mt Mount, name, redirect string) (int, error) {
	got, err := head(filepath.Join(mt.Target, name))
	if err != nil {
		return 0, err
	}
	for n, dir := range mt.Data {
		want, err := head(filepath.Join(dir, redirect))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(got, want) {
			return 0, fmt.Errorf("overlay: %s does not show its object", name)
		}
		return n, nil
	}
	return 0, fmt.Errorf("object %s of %s: %w", redirect, name, os.ErrNotExist)
}

func head(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, 512)
	n, err := io.ReadFull(f, b)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return b[:n], err
}

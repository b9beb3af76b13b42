package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

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
func check(mt Mount) error {
	if used, err := written(mt.Upper); err != nil || used {
		return err // a container ran on it before, and may have changed any file
	}
	img, f, err := openTree(mt.File)
	if err != nil {
		return err
	}
	defer f.Close()
	var name, redirect string
	err = img.Walk(func(path string, _ erofs.NID, in *erofs.Inode) error {
		if in.Redirect == "" {
			return nil
		}
		name, redirect = path, in.Redirect
		return errFound
	})
	if err == nil {
		return nil // nothing is redirected
	}
	if !errors.Is(err, errFound) {
		return err
	}
	return compare(mt, name, redirect)
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
func compare(mt Mount, name, redirect string) error {
	got, err := head(filepath.Join(mt.Target, name))
	if err != nil {
		return err
	}
	for _, dir := range mt.Data {
		want, err := head(filepath.Join(dir, redirect))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("overlay: %s does not show its object", name)
		}
		return nil
	}
	return fmt.Errorf("object %s of %s: %w", redirect, name, os.ErrNotExist)
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

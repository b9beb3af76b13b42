package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// A reference's name holds slashes, a file's does not.
var (
	escape   = strings.NewReplacer("%", "%25", "/", "%2F")
	unescape = strings.NewReplacer("%25", "%", "%2F", "/")
)

// Ref is the digest of the image a full name leads to.
func (s *Store) Ref(name string) (digest.Digest, error) {
	file := escape.Replace(name)
	if file == "" || file == "." || file == ".." || len(file) > 255 {
		return "", fmt.Errorf("image %s: %w", name, ErrNotFound)
	}
	target, err := os.Readlink(s.path("refs", file))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("image %s: %w", name, ErrNotFound)
		}
		return "", err
	}
	d := digest.NewDigestFromEncoded(digest.SHA256, filepath.Base(target))
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("image %s: reference to %s: %w", name, target, ErrNotFound)
	}
	return d, nil
}

// names maps each image to its names, sorted. A name that leads to nothing is left out: the power
// was cut before its image was committed.
func (s *Store) names() (map[digest.Digest][]string, error) {
	entries, err := os.ReadDir(s.path("refs"))
	if err != nil {
		return nil, err
	}
	all := map[digest.Digest][]string{}
	for _, e := range entries {
		name := unescape.Replace(e.Name())
		d, err := s.Ref(name)
		if err != nil {
			continue
		}
		if _, err := os.Stat(s.path("images", d.Encoded())); err == nil {
			all[d] = append(all[d], name)
		}
	}
	for _, names := range all {
		slices.Sort(names)
	}
	return all, nil
}

// Tag gives an image a further name. One that another image had leads to this one from now on.
func (s *Store) Tag(i *Image, name string) error {
	if err := s.setRef(name, i.Digest); err != nil {
		return err
	}
	return s.barrier()
}

// Untag takes a name away. It returns ErrNotFound when it is not there.
func (s *Store) Untag(name string) error {
	if _, err := s.Ref(name); err != nil {
		return err
	}
	if err := os.Remove(s.path("refs", escape.Replace(name))); err != nil {
		return err
	}
	return s.barrier()
}

// CheckName refuses a name that cannot be one of the store's, before anything is done for it.
func CheckName(name string) error {
	file := escape.Replace(name)
	if len(file) > 255 || file == "" || file == "." || file == ".." {
		return fmt.Errorf("name image %.64s…: a name of %d bytes, more than a file's may have", name, len(file))
	}
	return nil
}

const refPrefix = "ref-"

// setRef is atomic, and not made to last.
func (s *Store) setRef(name string, d digest.Digest) error {
	if err := CheckName(name); err != nil {
		return err
	}
	target := "../images/" + d.Encoded()
	to := s.path("refs", escape.Replace(name))
	if have, err := os.Readlink(to); err == nil && have == target {
		return nil
	}
	err := os.Symlink(target, to)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	for range 8 {
		tmp := s.path("tmp", refPrefix+randomName())
		if err := os.Symlink(target, tmp); err != nil {
			return err
		}
		if err = os.Rename(tmp, to); err == nil {
			return nil
		}
		os.Remove(tmp)
		if !errors.Is(err, fs.ErrNotExist) { // else a gc swept it away in between
			return err
		}
	}
	return err
}

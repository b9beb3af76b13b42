package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	digest "github.com/opencontainers/go-digest"
)

// LayerImage is the file of a writable layer that has the digest of its image.
const LayerImage = "image"

// A HeldError is an image that cannot be removed because of what a container has written over it.
type HeldError struct {
	Layer string // its name, or, where a link leads to it, its path
}

func (e *HeldError) Error() string { return "the writable layer " + e.Layer + " is over it" }

// held asks for the layers over an image. Who makes a layer uses the image meanwhile, and the caller
// has it alone, so none appears afterwards.
func (s *Store) held(d digest.Digest) error {
	if s.layers == "" {
		return nil
	}
	entries, err := os.ReadDir(s.layers)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		of, err := os.ReadFile(filepath.Join(s.layers, e.Name(), LayerImage))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(of)) == d.String() {
			if to, err := os.Readlink(filepath.Join(s.layers, e.Name())); err == nil {
				return &HeldError{to}
			}
			return &HeldError{e.Name()}
		}
	}
	return nil
}

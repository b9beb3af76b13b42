package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	digest "github.com/opencontainers/go-digest"
)

// HolderImage is the file of a container's directory that has the digest of its image.
const HolderImage = "image"

// A HeldError is an image that cannot be removed because of a container.
type HeldError struct {
	Dir       string // the one of Options.Holders
	Container string // its name, or, where a link leads to its writable layer, that one's path
}

func (e *HeldError) Error() string { return "held by container " + e.Container }

// held asks for what holds an image. Who begins to hold it uses the image meanwhile, and the caller has it
// alone, so none appears afterwards.
func (s *Store) held(d digest.Digest) error {
	for _, dir := range s.holders {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			of, err := os.ReadFile(filepath.Join(dir, e.Name(), HolderImage))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if strings.TrimSpace(string(of)) != d.String() {
				continue
			}
			name := e.Name()
			if to, err := os.Readlink(filepath.Join(dir, name)); err == nil {
				name = to
			}
			return &HeldError{dir, name}
		}
	}
	return nil
}

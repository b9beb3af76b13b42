package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Names in the directory of stubs besides keys.
const (
	hiding     = "-hiding" // behind the key: stubs for DataLower
	unfinished = ".new-"   // before what is being made, locked by who does, or is being removed
)

// SweepStubs removes, of the directory that Tree.Stubs are in, those of trees that are not there any
// more, and what killed processes left.
func SweepStubs(dir string, there func(key string) bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		at := filepath.Join(dir, e.Name())
		if !strings.HasPrefix(e.Name(), unfinished) {
			if there(strings.TrimSuffix(e.Name(), hiding)) {
				continue
			}
			// Half of it must not stand under the name, should the tree come again.
			grave := filepath.Join(dir, unfinished+e.Name())
			if err := os.Rename(at, grave); err != nil {
				errs = append(errs, err)
				continue
			}
			at = grave
		}
		own, err := lockDir(at, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue // somebody makes it, or it is gone
		}
		errs = append(errs, os.RemoveAll(at), own.Close())
	}
	return errors.Join(errs...)
}

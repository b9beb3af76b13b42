package instance

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/quota"
)

// RemovedPrefix begins the names of directories whose removal has begun.
const RemovedPrefix = ".removed-"

// Bury removes a directory of ours, and what limits it. It loses its name first: half of it is never
// used again. A cut leaves what SweepRemoved knows.
func Bury(dir string) error {
	grave := filepath.Join(filepath.Dir(dir), RemovedPrefix+NewID())
	if err := os.Rename(dir, grave); err != nil {
		return err
	}
	return errors.Join(quota.Release(grave), os.RemoveAll(grave))
}

// SweepRemoved goes on, in a directory of ours, where Bury was killed.
func SweepRemoved(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), RemovedPrefix) {
			continue
		}
		at := filepath.Join(dir, e.Name())
		err := quota.Release(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its remover lives
		}
		errs = append(errs, err, os.RemoveAll(at))
	}
	return errors.Join(errs...)
}

// Usage is the bytes below a directory, and its limit: 0 without one. It asks the file system, or counts
// where there is no limit.
func Usage(dir string) (used, limit int64, err error) {
	u, ok, err := quota.Of(dir)
	if ok || err != nil {
		return u.Used, u.Limit, err
	}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a container works in it
		}
		used += st.Blocks * 512
		return err
	})
	return used, 0, err
}

package imagecli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	digest "github.com/opencontainers/go-digest"

	"tare.dev/tare/internal/container"
	"tare.dev/tare/internal/instance"
	"tare.dev/tare/internal/rootfs"
	"tare.dev/tare/internal/store"
)

// sweep removes what was left of containers whose command was killed, and which run no more.
func (s *session) sweep() error {
	dir := filepath.Join(s.run, "containers")
	entries, err := entriesOf(dir)
	if err != nil || len(entries) == 0 {
		return err
	}
	var errs []error
	some := false
	for _, e := range entries {
		swept, err := s.sweepOne(e.Name(), filepath.Join(dir, e.Name()))
		errs = append(errs, err)
		some = some || swept
	}
	if some {
		errs = append(errs, s.releaseTrees())
	}
	return errors.Join(errs...)
}

// entriesOf lists a directory. One that is not there has no entries.
func entriesOf(dir string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}

// releaseTrees unmounts the trees of images that no container uses.
func (s *session) releaseTrees() error {
	entries, err := entriesOf(filepath.Join(s.run, "mnt", "trees"))
	if err != nil || len(entries) == 0 {
		return err
	}
	st, err := s.open()
	if err != nil {
		return err
	}
	defer st.Close()
	var errs []error
	for _, e := range entries {
		i, err := st.Image(digest.NewDigestFromEncoded(digest.SHA256, e.Name()))
		if errors.Is(err, store.ErrNotFound) {
			continue // of another root
		}
		if err == nil {
			err = instance.Release(s.mounter(), i)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// sweepStubs removes what was made for the mounting of images that are removed.
func sweepStubs(st *store.Store) error {
	return rootfs.SweepStubs(filepath.Join(st.Dir(), "stubs"), func(key string) bool {
		_, err := st.Image(digest.NewDigestFromEncoded(digest.SHA256, key))
		return !errors.Is(err, store.ErrNotFound)
	})
}

// sweepOne takes the lock that a living command holds.
func (s *session) sweepOne(id, dir string) (swept bool, err error) {
	if _, err := os.Stat(filepath.Join(dir, instance.Kept)); err == nil {
		return false, nil // the engine's
	}
	l, err := instance.Lock(dir)
	if err != nil {
		return false, nil // somebody runs it, or it is gone
	}
	defer l.Close()
	c, err := (container.Store{Root: filepath.Join(s.run, "runtime")}).Load(id)
	if err == nil {
		st, err := c.State()
		// One that is being created has nobody left who would end that: we have its command's lock.
		if err == nil && st.Status != "stopped" && st.Status != "creating" {
			return false, nil // its command was killed, it goes on
		}
		if err := c.Delete(true); err != nil {
			return false, err
		}
	}
	return true, instance.Clear(dir)
}

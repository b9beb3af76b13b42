package store

import (
	"errors"
	"fmt"
	"os"

	"tare.dev/tare/internal/object"
)

// Remove removes an image and its names. Its objects stay until GC. One that a container runs from
// is ErrInUse; one that a container holds is a *HeldError.
func (s *Store) Remove(i *Image) error {
	if err := s.remove(i); err != nil {
		return fmt.Errorf("remove image %s: %w", i.Digest, err)
	}
	return nil
}

func (s *Store) remove(i *Image) error {
	l, ok, err := i.Alone()
	if err != nil {
		return err
	}
	if !ok {
		return ErrInUse
	}
	defer l.Close()
	if err := s.held(i.Digest); err != nil {
		return err
	}
	// The names first: a cut leaves an image without a name, which can be seen and removed, and
	// not names that lead nowhere.
	for _, name := range i.Names {
		if err := os.Remove(s.path("refs", escape.Replace(name))); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	grave := s.path("tmp", "removed-"+randomName())
	if err := os.Rename(i.dir, grave); err != nil {
		return err
	}
	// Before its objects go, the image must be gone for good, or a cut would leave it without them.
	if err := s.barrier(); err != nil {
		return err
	}
	return os.RemoveAll(grave)
}

// Freed is what GC did.
type Freed struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

// GC removes the objects that no image refers to, and what killed processes left. It waits until
// nobody adds objects. What it removes no image needs, so it may be killed at any moment.
func (s *Store) GC() (Freed, error) {
	f, err := s.gc()
	if err != nil {
		return f, fmt.Errorf("gc: %w", err)
	}
	return f, nil
}

func (s *Store) gc() (Freed, error) {
	var f Freed
	l, err := s.exclude()
	if err != nil {
		return f, err
	}
	defer l.Close()
	if err := errors.Join(s.sweepTmp(), s.sweepRefs(), os.RemoveAll(s.path("tmp", resumeDir))); err != nil {
		return f, err
	}
	known, err := s.needed()
	if err != nil {
		return f, err // with one tree unreadable, nobody knows what may go
	}
	err = s.objects.All(func(d object.Digest, size int64) error {
		if known.Trusted(d) {
			return nil
		}
		f.Objects++
		f.Bytes += size
		return s.objects.Remove(d)
	})
	if err != nil {
		return f, err
	}
	images, err := s.Images()
	if err != nil {
		return f, err
	}
	if err := s.gcPacks(&f, images); err != nil {
		return f, err
	}
	return f, s.compact(images)
}

package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// holdPart opens a part of a volume and mounts what it has opened on a place of the engine's own, for the start that is
// under way: by its name the part could be a link to elsewhere by then, made by another container that has the
// volume. It returns the place.
func (c *Container) holdPart(dir string, m *Mount) (string, error) {
	bad := func(err error) error { return Errorf(Invalid, "volume %s: subpath %s: %w", m.Name, m.Subpath, err) }
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	f, err := root.OpenFile(m.Subpath, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", bad(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", bad(err)
	}
	at := filepath.Join(c.e.partsDir(), fmt.Sprintf("%s-%d", c.id, len(c.parts)))
	switch {
	case st.IsDir():
		err = os.MkdirAll(at, 0o700)
	case st.Mode().IsRegular():
		if err = os.MkdirAll(filepath.Dir(at), 0o700); err == nil {
			err = os.WriteFile(at, nil, 0o600)
		}
	default:
		return "", bad(errors.New("neither a directory nor a file"))
	}
	if err != nil {
		return "", err
	}
	c.parts = append(c.parts, at)
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return "", bad(&fs.PathError{Op: "mount on", Path: at, Err: err})
	}
	return at, nil
}

// dropParts takes the places back. The container has mounts of its own by then.
func (c *Container) dropParts() {
	for _, at := range c.parts {
		if err := dropPart(at); err != nil {
			c.e.log.Error("unmount a part of a volume", "container", c.id, "error", err)
		}
	}
	c.parts = nil
}

func dropPart(at string) error {
	if err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
		return &fs.PathError{Op: "unmount", Path: at, Err: err} // never remove through a mount
	}
	return os.Remove(at)
}

func (e *Engine) partsDir() string { return filepath.Join(e.o.Run, "parts") }

// sweepParts takes back what an engine that was killed has left.
func (e *Engine) sweepParts() {
	left, err := os.ReadDir(e.partsDir())
	if err != nil {
		return // mostly there is none
	}
	for _, x := range left {
		if err := dropPart(filepath.Join(e.partsDir(), x.Name())); err != nil {
			e.log.Error("unmount a part of a volume", "error", err)
		}
	}
}

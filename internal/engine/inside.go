package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"
	"golang.org/x/sys/unix"
)

// inside is a directory tree that a container writes to: no link in it leads out of it, whatever the
// container does to it meanwhile.
type inside struct {
	root     *os.Root
	readOnly bool // what the container has there it may not write; where it runs, the kernel says so
}

// insideOf opens the tree that a path of the container lies in, and the path in it. A container that runs is
// seen as it sees itself; of one that does not, its volumes are at their places.
func (c *Container) insideOf(p string) (in inside, rest string, err error) {
	p = path.Join("/", p)
	v := c.View()
	dir := ""
	err = c.do(func() error {
		v = c.View()
		if v.Running() {
			dir = fmt.Sprintf("/proc/%d/root", v.Pid)
			return nil
		}
		dir = c.e.dir(c.id) + "/rootfs"
		return c.ensurePlace()
	})
	if err != nil {
		return in, "", err
	}
	var m *Mount
	if !v.Running() {
		m, p = belowMount(v.Record, p)
	}
	if m != nil {
		in.readOnly = !m.RW
		in.root, err = c.e.openMount(m)
	} else {
		in.root, err = os.OpenRoot(dir)
	}
	if err != nil {
		return in, "", err
	}
	rest, err = in.resolve(p)
	if err != nil {
		in.root.Close()
	}
	return in, rest, err
}

// belowMount finds the volume or bind mount that a path of a container that does not run lies in, and the path in it.
func belowMount(r *Record, p string) (best *Mount, rest string) {
	at := ""
	for i := range r.Mounts {
		m := &r.Mounts[i]
		if (p == m.Destination || strings.HasPrefix(p, m.Destination+"/")) && len(m.Destination) > len(at) && m.Source != "" {
			best, at = m, m.Destination
		}
	}
	return best, path.Join("/", strings.TrimPrefix(p, at))
}

// openMount opens what a container has mounted: of a volume the part that it has of it, and no more.
func (e *Engine) openMount(m *Mount) (*os.Root, error) {
	if m.Type != mount.TypeVolume {
		return os.OpenRoot(m.Source)
	}
	dir, err := e.volumePath(m.Name)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil || m.Subpath == "" {
		return root, err
	}
	defer root.Close()
	return root.OpenRoot(m.Subpath)
}

const maxLinks = 40

// resolve follows the links in all of a path but its last part, as the container would, and returns a path
// without links, relative to the root. A part that is not there, or changes meanwhile, is an error of what
// is done next: os.Root lets no link lead out.
func (in inside) resolve(p string) (string, error) {
	parts := strings.Split(strings.Trim(p, "/"), "/")
	var done []string
	links := 0
	for len(parts) > 0 {
		part := parts[0]
		parts = parts[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = done[:max(0, len(done)-1)]
			continue
		}
		next := append(slices.Clone(done), part)
		info, err := in.root.Lstat(strings.Join(next, "/"))
		if len(parts) == 0 || err != nil && errors.Is(err, fs.ErrNotExist) && !slices.Contains(parts, "..") {
			return relative(append(next, parts...)), nil
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "resolve", Path: p, Err: unix.ELOOP}
		}
		to, err := in.root.Readlink(strings.Join(next, "/"))
		if err != nil {
			return "", err
		}
		if path.IsAbs(to) {
			done = nil
		}
		parts = append(strings.Split(strings.Trim(to, "/"), "/"), parts...)
	}
	return relative(done), nil
}

func relative(parts []string) string {
	if len(parts) == 0 {
		return "."
	}
	return strings.Join(parts, "/")
}

// follow is resolve of a path that may itself be a link.
func (in inside) follow(p string) (string, error) {
	for range maxLinks {
		info, err := in.root.Lstat(p)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return p, err
		}
		to, err := in.root.Readlink(p)
		if err != nil {
			return "", err
		}
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(p), to)
		}
		if p, err = in.resolve(to); err != nil {
			return "", err
		}
	}
	return "", &fs.PathError{Op: "resolve", Path: p, Err: unix.ELOOP}
}

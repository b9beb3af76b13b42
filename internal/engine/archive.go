package engine

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
)

// noFile is docker's word for a path that is not there: its client looks for the status alone.
func (c *Container) noFile(p string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return Errorf(NotFound, "Could not find the file %s in container %s", p, c.View().Name)
	}
	return err
}

// PathStat describes a file of the container. A link is described itself.
func (c *Container) PathStat(p string) (container.PathStat, error) {
	in, at, err := c.insideOf(p)
	if err != nil {
		return container.PathStat{}, c.noFile(p, err)
	}
	defer in.root.Close()
	return c.stat(in, at, p)
}

func (c *Container) stat(in inside, at, p string) (container.PathStat, error) {
	if strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") {
		to, err := in.follow(at)
		if err != nil {
			return container.PathStat{}, c.noFile(p, err)
		}
		at = to
	}
	info, err := in.root.Lstat(at)
	if err != nil {
		return container.PathStat{}, c.noFile(p, err)
	}
	s := container.PathStat{Name: path.Base(path.Join("/", p)), Size: info.Size(), Mode: info.Mode(), Mtime: info.ModTime()}
	if info.Mode()&fs.ModeSymlink != 0 {
		if to, err := in.follow(at); err == nil {
			s.LinkTarget = path.Join("/", to)
		} else if text, err := in.root.Readlink(at); err == nil {
			s.LinkTarget = path.Join("/", path.Dir(at), text)
			if path.IsAbs(text) {
				s.LinkTarget = path.Clean(text)
			}
		}
	}
	return s, nil
}

// CopyOut writes a file or directory of the container as a tar stream. begin is called with its
// description when it is known that it is there.
func (c *Container) CopyOut(p string, w io.Writer, begin func(container.PathStat) error) error {
	in, at, err := c.insideOf(p)
	if err != nil {
		return c.noFile(p, err)
	}
	defer in.root.Close()
	s, err := c.stat(in, at, p)
	if err != nil {
		return err
	}
	name := s.Name
	if strings.HasSuffix(p, "/.") {
		name = "."
	}
	if strings.HasSuffix(p, "/") || name == "." {
		if at, err = in.follow(at); err != nil {
			return c.noFile(p, err)
		}
	}
	if err := begin(s); err != nil {
		return err
	}
	c.publish("archive-path")
	return newPacker(in.root, w).pack(at, name)
}

// Export writes the container's own file system, without its volumes.
func (c *Container) Export(w io.Writer) error {
	if err := c.do(c.ensurePlace); err != nil {
		return err
	}
	root, err := os.OpenRoot(c.in.Rootfs())
	if err != nil {
		return err
	}
	defer root.Close()
	c.publish("export")
	return newPacker(root, w).pack(".", "")
}

// packer writes a tree as a tar stream.
type packer struct {
	root *os.Root
	w    *tar.Writer
	seen map[[2]uint64]string // names of files that have several, by device and inode
}

func newPacker(root *os.Root, w io.Writer) *packer {
	return &packer{root, tar.NewWriter(w), map[[2]uint64]string{}}
}

func (p *packer) pack(at, name string) error {
	if err := p.walk(at, name); err != nil {
		return err
	}
	return p.w.Close()
}

func (p *packer) walk(at, name string) error {
	info, err := p.root.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has just gone
	}
	if err != nil {
		return err
	}
	if err := p.file(at, name, info); err != nil || !info.IsDir() {
		return err
	}
	d, err := p.root.Open(at)
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	d.Close()
	if err != nil {
		return err
	}
	if name != "" {
		name += "/" // "./" stays: clients put another name in its place
	}
	for _, e := range entries {
		if err := p.walk(path.Join(at, e.Name()), name+e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) file(at, name string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeSocket != 0 || name == "" {
		return nil // a socket is nothing without who listens; the root of an export has no name
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		var err error
		if link, err = p.root.Readlink(at); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname, h.Format = name, "", "", tar.FormatUnknown
	h.AccessTime, h.ChangeTime, h.ModTime = time.Time{}, time.Time{}, h.ModTime.Truncate(time.Second)
	if info.IsDir() {
		h.Name += "/"
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 && info.Mode().IsRegular() {
		key := [2]uint64{uint64(st.Dev), st.Ino}
		if first, again := p.seen[key]; again {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return p.w.WriteHeader(h)
		}
		p.seen[key] = name
	}
	if !info.Mode().IsRegular() {
		return p.w.WriteHeader(h)
	}
	f, err := p.root.OpenFile(at, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be a FIFO by now
	if err != nil {
		return err
	}
	defer f.Close()
	if now, err := f.Stat(); err != nil || !os.SameFile(info, now) {
		return err // nil: another file is in its place
	}
	if err := p.w.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyN(p.w, f, h.Size) // it may have grown
	if errors.Is(err, io.EOF) && n < h.Size {
		_, err = io.CopyN(p.w, zeros{}, h.Size-n) // or shrunk
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", at, err)
	}
	return nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

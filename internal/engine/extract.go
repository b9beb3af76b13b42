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
	"time"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/layer"
)

// CopyInOptions of CopyIn.
type CopyInOptions struct {
	KeepDirs bool // no directory takes the place of a file, nor a file that of a directory
	OwnIDs   bool // what is copied belongs to the container's user
}

// CopyIn unpacks a tar stream in a directory of the container.
func (c *Container) CopyIn(p string, r io.Reader, o CopyInOptions) error {
	in, at, err := c.insideOf(p)
	if err != nil {
		return c.noFile(p, err)
	}
	defer in.root.Close()
	if at, err = in.follow(at); err != nil {
		return c.noFile(p, err)
	}
	info, err := in.root.Stat(at)
	if err != nil {
		return c.noFile(p, err)
	}
	if !info.IsDir() {
		return Errorf(Invalid, "extraction point is not a directory")
	}
	v := c.View()
	if v.Host.ReadonlyRootfs && !mountedAbove(v.Record, path.Join("/", p)) {
		return Errorf(Forbidden, "container rootfs is marked read-only")
	}
	if in.readOnly {
		return Errorf(Forbidden, "mounted volume is marked read-only")
	}
	x := extractor{in: in, base: at, o: o}
	if o.OwnIDs {
		if x.uid, x.gid, err = c.owner(); err != nil {
			return err
		}
	}
	plain, err := layer.Decompress(r)
	if err != nil {
		return Errorf(Invalid, "read archive: %w", err)
	}
	defer plain.Close()
	if err := x.all(tar.NewReader(plain)); err != nil {
		return err
	}
	c.publish("extract-to-dir")
	return nil
}

func mountedAbove(r *Record, p string) bool {
	for ; p != "/"; p = path.Dir(p) {
		if mountedOver(r, p) {
			return true
		}
	}
	return false
}

type extractor struct {
	in       inside
	base     string
	o        CopyInOptions
	uid, gid int
	late     []lateTime // directories, whose times come last
}

type lateTime struct {
	at   string
	time time.Time
}

func (x *extractor) all(t *tar.Reader) error {
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Errorf(Invalid, "read archive: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader { // git archive begins with one
			continue
		}
		if err := x.one(h, t); err != nil {
			return fmt.Errorf("unpack %s: %w", h.Name, err)
		}
	}
	for _, d := range x.late {
		if err := x.in.root.Chtimes(d.at, d.time, d.time); err != nil {
			return err
		}
	}
	return nil
}

// path is where an entry goes: by its name never above the directory. Links on its way are followed as the container
// would, for /var/run may be one.
func (x *extractor) path(name string) (string, error) {
	return x.in.resolve(path.Join(x.base, path.Join("/", name)[1:]))
}

func (x *extractor) one(h *tar.Header, r io.Reader) error {
	root := x.in.root
	at, err := x.path(h.Name)
	if err != nil {
		return err
	}
	have, err := root.Lstat(at)
	if err == nil && at != x.base {
		if x.o.KeepDirs && have.IsDir() != (h.Typeflag == tar.TypeDir) {
			return Errorf(Invalid, "cannot overwrite %s: one is a directory and the other is not", path.Join("/", at))
		}
		if !have.IsDir() || h.Typeflag != tar.TypeDir {
			if err := root.RemoveAll(at); err != nil {
				return err
			}
		}
	}
	if err := root.MkdirAll(path.Dir(at), 0o755); err != nil {
		return err
	}
	if err := x.make(at, h, r); err != nil {
		return err
	}
	uid, gid := h.Uid, h.Gid
	if x.o.OwnIDs {
		uid, gid = x.uid, x.gid
	}
	if err := root.Lchown(at, uid, gid); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		return nil
	case tar.TypeDir:
		x.late = append(x.late, lateTime{at, h.ModTime})
	}
	if err := root.Chmod(at, h.FileInfo().Mode()&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky)); err != nil {
		return err
	}
	return root.Chtimes(at, h.ModTime, h.ModTime)
}

func (x *extractor) make(at string, h *tar.Header, r io.Reader) error {
	root := x.in.root
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.Mkdir(at, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case tar.TypeReg:
		f, err := root.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, at)
	case tar.TypeLink:
		to, err := x.path(h.Linkname)
		if err != nil {
			return err
		}
		return root.Link(to, at)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return x.node(at, h)
	}
	return Errorf(Invalid, "entry of type %q", h.Typeflag)
}

// node makes a device or FIFO through its opened directory.
func (x *extractor) node(at string, h *tar.Header) error {
	dir, err := x.in.root.Open(path.Dir(at))
	if err != nil {
		return err
	}
	defer dir.Close()
	mode := uint32(unix.S_IFIFO)
	switch h.Typeflag {
	case tar.TypeChar:
		mode = unix.S_IFCHR
	case tar.TypeBlock:
		mode = unix.S_IFBLK
	}
	return unix.Mknodat(int(dir.Fd()), path.Base(at), mode|0o600, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
}

// owner is the container's user by number.
func (c *Container) owner() (uid, gid int, err error) {
	name := c.View().Config.User
	if name == "" || strings.HasPrefix(name, "0") {
		return 0, 0, nil
	}
	u, err := c.user(name)
	return int(u.UID), int(u.GID), err
}

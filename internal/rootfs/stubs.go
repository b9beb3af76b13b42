package rootfs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/pack"
)

// makeStubs makes the directory of stubs of a tree, once. It is whole when it has its name.
// With hide, the names of the objects' directories are hidden in the root.
func makeStubs(t Tree, hide bool) error {
	if _, err := os.Stat(t.Stubs); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	img, f, err := openTree(t.File)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.MkdirAll(filepath.Dir(t.Stubs), 0o700); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(t.Stubs), unfinished)
	if err != nil {
		return err
	}
	own, err := lockDir(tmp, unix.LOCK_EX) // for SweepStubs
	if err != nil {
		return err
	}
	defer own.Close()
	w := stubs{dir: tmp, seen: map[erofs.NID]string{}}
	defer w.close()
	err = w.open(t.Small)
	if err == nil {
		err = w.write(img, hide)
	}
	if err == nil {
		err = syncTree(tmp)
	}
	if err == nil {
		err = os.Rename(tmp, t.Stubs)
	}
	if err != nil {
		os.RemoveAll(tmp)
		if _, there := os.Stat(t.Stubs); there == nil {
			return nil // another process was faster
		}
		return fmt.Errorf("stubs %s: %w", t.Stubs, err)
	}
	return nil
}

// syncTree makes the stubs last before they get their name; nothing checks them later.
func syncTree(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

type stubs struct {
	dir  string
	seen map[erofs.NID]string // files of several names
	dirs []stubDir

	small map[string]smallFile // by redirect
	packs []*os.File
}

// A smallFile is in a pack, which nothing here can mount: the stubs have a copy.
type smallFile struct {
	pack *erofs.Image
	nid  erofs.NID
}

// open lists the packs of small files.
func (w *stubs) open(packs []Pack) error {
	w.small = map[string]smallFile{}
	for _, p := range packs {
		img, f, err := openTree(p.File)
		if err != nil {
			return err
		}
		w.packs = append(w.packs, f)
		err = pack.Names(img, func(d object.Digest, nid erofs.NID) error {
			w.small[d.Redirect()] = smallFile{img, nid}
			return nil
		})
		if err != nil {
			return fmt.Errorf("pack %s: %w", p.File, err)
		}
	}
	return nil
}

func (w *stubs) close() {
	for _, f := range w.packs {
		f.Close()
	}
}

// fill puts the contents of a small file in the place of its redirect.
func (w *stubs) fill(in *erofs.Inode) error {
	s, ok := w.small[in.Redirect]
	if !ok {
		return nil
	}
	r, err := s.pack.Contents(s.nid)
	if err != nil {
		return err
	}
	if in.Data, err = io.ReadAll(r); err != nil {
		return err
	}
	if got := object.Digest(sha256.Sum256(in.Data)); got.Redirect() != in.Redirect {
		return fmt.Errorf("object %s in a pack: %w", in.Redirect, object.ErrDamaged)
	}
	in.Redirect = ""
	return nil
}

// A directory's times are set when nothing is made in it any more.
type stubDir struct {
	path string
	in   erofs.Inode
}

func (w *stubs) write(img *erofs.Image, hide bool) error {
	if err := img.Walk(w.add); err != nil {
		return err
	}
	if hide {
		if err := w.hide(); err != nil {
			return err
		}
	}
	for _, d := range w.dirs {
		if err := setTimes(d.path, &d.in); err != nil {
			return err
		}
	}
	return nil
}

func (w *stubs) add(name string, nid erofs.NID, in *erofs.Inode) error {
	at := filepath.Join(w.dir, path.Clean("/"+name))
	format := in.Mode & unix.S_IFMT
	if format == unix.S_IFDIR {
		if at != w.dir {
			if err := os.Mkdir(at, 0o700); err != nil {
				return err
			}
		}
		w.dirs = append(w.dirs, stubDir{at, *in})
		return w.attributes(at, in)
	}
	if in.Nlink > 1 {
		if first, ok := w.seen[nid]; ok {
			return os.Link(first, at)
		}
		w.seen[nid] = at
	}
	if err := w.fill(in); err != nil {
		return err
	}
	if err := create(at, format, in); err != nil {
		return err
	}
	if err := w.attributes(at, in); err != nil {
		return err
	}
	return setTimes(at, in)
}

func create(at string, format uint32, in *erofs.Inode) error {
	switch format {
	case unix.S_IFLNK:
		return os.Symlink(string(in.Data), at)
	case unix.S_IFREG:
		if err := os.WriteFile(at, in.Data, 0o600); err != nil {
			return err
		}
		if in.Redirect == "" {
			return nil
		}
		if err := os.Truncate(at, in.Size); err != nil {
			return err
		}
		if err := unix.Lsetxattr(at, "trusted.overlay.redirect", []byte(in.Redirect), 0); err != nil {
			return &fs.PathError{Op: "setxattr", Path: at, Err: err}
		}
		if err := unix.Lsetxattr(at, "trusted.overlay.metacopy", nil, 0); err != nil {
			return &fs.PathError{Op: "setxattr", Path: at, Err: err}
		}
		return nil
	}
	if err := unix.Mknod(at, format|0o600, int(in.Rdev)); err != nil {
		return &fs.PathError{Op: "mknod", Path: at, Err: err}
	}
	return nil
}

// attributes sets the owner first: a change of it takes set-id bits and capabilities away.
func (w *stubs) attributes(at string, in *erofs.Inode) error {
	if err := os.Lchown(at, int(in.UID), int(in.GID)); err != nil {
		return err
	}
	if in.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(at, in.Mode&0o7777); err != nil {
			return &fs.PathError{Op: "chmod", Path: at, Err: err}
		}
	}
	for _, x := range in.Xattrs {
		if err := unix.Lsetxattr(at, x.Name, x.Value, 0); err != nil {
			return &fs.PathError{Op: "setxattr " + x.Name, Path: at, Err: err}
		}
	}
	return nil
}

func setTimes(at string, in *erofs.Inode) error {
	t := unix.NsecToTimespec(in.Mtime*1e9 + int64(in.MtimeNsec))
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, at, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "utimensat", Path: at, Err: err}
	}
	return nil
}

// hide puts whiteouts where objects' directories would be seen in the root, and keeps a directory
// of such a name from being laid over one of them.
func (w *stubs) hide() error {
	for _, c := range "0123456789abcdef" {
		at := filepath.Join(w.dir, string(c))
		err := unix.Mknod(at, unix.S_IFCHR, 0)
		if err == nil {
			continue
		}
		if !errors.Is(err, unix.EEXIST) {
			return &fs.PathError{Op: "mknod", Path: at, Err: err}
		}
		st, err := os.Lstat(at)
		if err != nil {
			return err
		}
		if !st.IsDir() {
			continue
		}
		if err := unix.Lsetxattr(at, "trusted.overlay.opaque", []byte("y"), 0); err != nil {
			return &fs.PathError{Op: "setxattr", Path: at, Err: err}
		}
	}
	return nil
}

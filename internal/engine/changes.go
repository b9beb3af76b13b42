package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/order"
)

// Changes is what the container did to the files of its image. What is below places that are mounted over
// is not shown.
func (c *Container) Changes() ([]container.FilesystemChange, error) {
	if err := c.do(c.ensurePlace); err != nil {
		return nil, err
	}
	v := c.View()
	_, key, _ := strings.Cut(v.Image, ":")
	image := filepath.Join(c.e.mounter.Run, "trees", key)
	upper := c.in.Upper()
	out := []container.FilesystemChange{}
	err := filepath.WalkDir(upper, func(at string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || at == upper {
			return nil // it has just gone
		}
		if err != nil {
			return err
		}
		p := strings.TrimPrefix(at, upper)
		if ours(v.Record, p) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			return nil
		}
		kind := container.ChangeAdd
		if _, err := os.Lstat(filepath.Join(image, p)); err == nil {
			kind = container.ChangeModify
		}
		if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 { // a whiteout: overlayfs.rst
			kind = container.ChangeDelete
		}
		out = append(out, container.FilesystemChange{Kind: kind, Path: p})
		return nil
	})
	order.By(out, func(a, b container.FilesystemChange) int { return strings.Compare(a.Path, b.Path) })
	return withoutOurs(out, upper, image), err
}

// withoutOurs leaves out directories that changed only because a place to mount on was made there.
func withoutOurs(list []container.FilesystemChange, upper, image string) []container.FilesystemChange {
	return slices.DeleteFunc(slices.Clone(list), func(c container.FilesystemChange) bool {
		var was, is unix.Stat_t
		if c.Kind != container.ChangeModify || unix.Lstat(filepath.Join(upper, c.Path), &is) != nil ||
			unix.Lstat(filepath.Join(image, c.Path), &was) != nil || is.Mode&unix.S_IFMT != unix.S_IFDIR {
			return false
		}
		same := was.Mode == is.Mode && was.Uid == is.Uid && was.Gid == is.Gid
		return same && !slices.ContainsFunc(list, func(o container.FilesystemChange) bool { return strings.HasPrefix(o.Path, c.Path+"/") })
	})
}

// ours are the places that a start makes to mount on.
func ours(r *Record, p string) bool {
	switch p {
	case "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev", "/proc", "/sys", initPath:
		return true
	}
	return mountedOver(r, p)
}

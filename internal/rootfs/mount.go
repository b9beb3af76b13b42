package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A Tree is what is mounted.
type Tree struct {
	Key  string // names the mount all containers of the image share
	File string // the EROFS image
	// Stubs is where the directory of stubs is kept, or made when the layout needs it.
	Stubs string
	// Data is the directories of objects: loose ones, then mounted packs.
	Data []string
	// Small is packs that are mounted with the tree: of small files, not compressed.
	Small []Pack
}

// A Pack is an EROFS image of objects.
type Pack struct {
	Key  string // names the mount all containers share
	File string
}

// A Mount is one root file system to be.
type Mount struct {
	Tree
	Target string // an existing directory
	// Upper and Work take what the container writes; both are empty for a root file system that is
	// read-only. They are on one file system.
	Upper, Work string
}

// A Mounter mounts trees. Run is a directory in memory where it keeps its mounts.
type Mounter struct {
	Run string
	// Force is the only layout to use; nil means the first that works.
	Force *Layout
}

// Mount mounts the root file system. The layout that worked is returned.
func (m *Mounter) Mount(mt Mount) (Layout, error) {
	if m.Force != nil {
		return *m.Force, wrap(mt, m.mount(*m.Force, mt))
	}
	var causes []error
	for _, l := range m.order() {
		err := m.mount(l, mt)
		if err == nil {
			m.remember(l)
			return l, nil
		}
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM) || errors.Is(err, fs.ErrNotExist) {
			return l, wrap(mt, err)
		}
		causes = append(causes, fmt.Errorf("%s: %w", l, err))
	}
	return Layout{}, wrap(mt, fmt.Errorf("%w (%w)", ErrNoLayout, errors.Join(causes...)))
}

func wrap(mt Mount, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("mount root file system on %s: %w", mt.Target, err)
}

// order puts the layout that worked last first.
func (m *Mounter) order() []Layout {
	all := layouts()
	text, err := os.ReadFile(filepath.Join(m.Run, "layout"))
	if err != nil {
		return all
	}
	last, err := ParseLayout(string(text))
	if err != nil {
		return all
	}
	return append([]Layout{last}, all...)
}

// remember is for the next container; a failure costs it a few mounts that fail.
func (m *Mounter) remember(l Layout) {
	name := filepath.Join(m.Run, "layout")
	if have, err := os.ReadFile(name); err == nil && string(have) == l.String() {
		return
	}
	_ = os.WriteFile(name, []byte(l.String()), 0o644)
}

func (m *Mounter) mount(l Layout, mt Mount) error {
	// Until overlayfs holds them, another container's end could unmount what it is to be made of.
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	tree, err := m.tree(l, mt.Tree)
	if err != nil {
		return err
	}
	if l.Tree != TreeStubs {
		if mt.Data, err = m.small(mt.Tree); err != nil {
			return err
		}
	}
	lower := []string{tree}
	if l.Data == DataLower && l.Tree != TreeStubs {
		cover, err := m.cover(mt.Tree)
		if err != nil {
			return err
		}
		lower = []string{cover, tree}
	}
	options := overlayOptions(l, lower, mt)
	if len(options) >= os.Getpagesize() {
		return fmt.Errorf("overlay: options of %d bytes: %w", len(options), unix.E2BIG)
	}
	flags := uintptr(unix.MS_NODEV)
	if mt.Upper == "" {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("tare", mt.Target, "overlay", flags, options); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	if err := check(l, mt); err != nil {
		_ = unix.Unmount(mt.Target, unix.MNT_DETACH)
		return err
	}
	return nil
}

func overlayOptions(l Layout, lower []string, mt Mount) string {
	var b strings.Builder
	b.WriteString("lowerdir=")
	for i, dir := range lower {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(escape(dir))
	}
	for _, dir := range mt.Data {
		if l.Data == DataOnly {
			b.WriteByte(':')
		}
		b.WriteByte(':')
		b.WriteString(escape(dir))
	}
	b.WriteString(",metacopy=on")
	if mt.Upper == "" {
		b.WriteString(",redirect_dir=follow")
	} else {
		// A chmod then copies an inode to the upper layer and not its bytes.
		b.WriteString(",redirect_dir=on,upperdir=" + escape(mt.Upper) + ",workdir=" + escape(mt.Work))
	}
	return b.String()
}

// escape is for a path in overlayfs's options: backslash, colon and comma mean something there.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(path)
}

// tree returns a directory with the metadata.
func (m *Mounter) tree(l Layout, t Tree) (string, error) {
	if l.Tree == TreeStubs {
		hide := l.Data == DataLower
		if hide {
			t.Stubs += hiding // the other kind would show the whiteouts
		}
		return t.Stubs, makeStubs(t, hide)
	}
	at := filepath.Join(m.Run, "trees", t.Key)
	if err := os.MkdirAll(at, 0o700); err != nil {
		return "", err
	}
	if is, err := isErofs(at); err != nil || is {
		return at, err // another container's
	}
	if l.Tree == TreeLoop {
		return at, mountLoop(t.File, at)
	}
	return at, mountFile(t.File, at)
}

// lock keeps two containers from mounting one tree twice, and from unmounting what the other needs.
func (m *Mounter) lock() (func() error, error) {
	dir := filepath.Join(m.Run, "trees")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := lockDir(dir, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	return f.Close, nil
}

func lockDir(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "lock", Path: dir, Err: err}
	}
	return f, nil
}

const erofsMagic = 0xe0f5e1e2

func isErofs(at string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		return false, &fs.PathError{Op: "statfs", Path: at, Err: err}
	}
	return uint32(st.Type) == erofsMagic, nil
}

// mountFile mounts an EROFS image from its file. Without directio its blocks would be cached
// twice, as the file's and as the file system's.
func mountFile(file, at string) error {
	const flags = unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID
	err := unix.Mount(file, at, "erofs", flags, "directio")
	if err != nil {
		err = unix.Mount(file, at, "erofs", flags, "")
	}
	if err != nil {
		return fmt.Errorf("erofs %s: %w", file, err)
	}
	return nil
}

// cover makes a layer that hides the directories of the objects, which are else seen in the
// root of the container. It returns its directory.
func (m *Mounter) cover(t Tree) (string, error) {
	names, err := rootNames(t.File)
	if err != nil {
		return "", err
	}
	at := filepath.Join(m.Run, "cover", t.Key)
	if err := os.MkdirAll(at, 0o755); err != nil {
		return "", err
	}
	for _, c := range "0123456789abcdef" {
		name := string(c)
		if dir, there := names[name]; there {
			if dir {
				return "", fmt.Errorf("overlay: the image's directory /%s has the name of one of the objects'", name)
			}
			continue
		}
		if err := unix.Mknod(filepath.Join(at, name), unix.S_IFCHR, 0); err != nil && !errors.Is(err, unix.EEXIST) {
			return "", &fs.PathError{Op: "mknod", Path: filepath.Join(at, name), Err: err}
		}
	}
	return at, nil
}

// Release unmounts the tree that containers of the image shared, when none uses it any more, and the packs of small
// files that nobody uses. Overlay mounts hold what is below them, so the caller must know of the tree.
func (m *Mounter) Release(key string) error {
	if _, err := os.Stat(filepath.Join(m.Run, "trees")); errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was mounted; on a full disk the directory for the lock could not be made
	}
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := unmount(filepath.Join(m.Run, "trees", key)); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(filepath.Join(m.Run, "cover", key)), m.sweepSmall())
}

// unmount unmounts what is at a directory, if anything, and removes that.
func unmount(at string) error {
	err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "unmount", Path: at, Err: err}
	}
	_ = os.Remove(at)
	return nil
}

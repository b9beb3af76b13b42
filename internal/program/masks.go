package program

import (
	"strings"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// openNull emits, before the pivot, what masked paths are covered with: the
// host's /dev/null, since the container's could be anything, and one empty
// directory for all.
func (c *compiler) openNull() {
	c.openDevices()
	if len(c.linux.MaskedPaths) == 0 {
		return
	}
	if !c.facts.MountAPI {
		c.nullFD = c.openFixed("open /dev/null", "/dev/null")
		return
	}
	if !c.facts.CloneTree { // Linux < 6.15 copies attached mounts only: one for each path
		for range c.linux.MaskedPaths {
			c.nulls = append(c.nulls, c.openNullTree())
		}
		return
	}
	c.null = c.openNullTree()
	c.empty = c.emptyDir()
}

func (c *compiler) openNullTree() *sysprog.Slot {
	fd := c.Slot("null")
	c.Do("open /dev/null", "open_tree", sysprog.Int(unix.AT_FDCWD), sysprog.Str("/dev/null"),
		sysprog.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)).To(fd)
	return fd
}

func (c *compiler) emptyDir() *sysprog.Slot {
	m := &mount{
		kind: "tmpfs", source: "tmpfs", dest: "empty", data: []string{"nr_blocks=1", "nr_inodes=1"},
		set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC,
	}
	c.openFS(m)
	return m.tree.Slot()
}

// maskPaths emits the covering of masked paths and the write protection of
// read-only ones. Paths that are not there are left alone.
func (c *compiler) maskPaths() {
	for i, p := range c.linux.ReadonlyPaths {
		c.readonlyPath(i, clean(p))
	}
	for i, p := range c.linux.MaskedPaths {
		c.maskPath(i, clean(p))
	}
}

func (c *compiler) maskPath(i int, path string) {
	what := "mask " + path
	fd := c.Slot("masked")
	done, file := c.Label("masked "+path), c.Label("mask file "+path)
	op := c.open(what, path, unix.O_PATH, 0).To(fd).On(unix.ENOENT, done)
	if i == 0 {
		op.Note("masked paths")
	}
	probe := c.Slot("probe")
	c.Do(what, "openat", sysprog.Val(fd), sysprog.Str("."), sysprog.Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).To(probe).On(unix.ENOTDIR, file)
	c.Do("", "close", sysprog.Val(probe))
	switch {
	case !c.facts.MountAPI:
		c.Do(what, "mount", sysprog.Str("tmpfs"), sysprog.Str(path), sysprog.Str("tmpfs"), sysprog.Int(unix.MS_RDONLY), sysprog.Str("nr_blocks=1,nr_inodes=1"))
	case c.empty != nil:
		c.cover(what, c.empty, fd)
	default:
		c.Do(what, "move_mount", sysprog.Val(c.emptyDir()), sysprog.Str(""), sysprog.Val(fd), sysprog.Str(""), sysprog.Int(emptyToEmpty))
	}
	c.Do("", "close", sysprog.Val(fd)).Next(done)
	c.Here(file)
	switch {
	case !c.facts.MountAPI:
		c.Do(what, "mount", sysprog.Str(hostFD(c.nullFD)), sysprog.Str(path), sysprog.Int(0), sysprog.Int(unix.MS_BIND), sysprog.Int(0))
	case c.null != nil:
		c.cover(what, c.null, fd)
	default:
		c.Do(what, "move_mount", sysprog.Val(c.nulls[i]), sysprog.Str(""), sysprog.Val(fd), sysprog.Str(""), sysprog.Int(emptyToEmpty))
	}
	c.Do("", "close", sysprog.Val(fd))
	c.Here(done)
}

// cover puts a copy of the detached mount tree over what fd is open on.
func (c *compiler) cover(what string, tree, fd *sysprog.Slot) {
	one := c.Slot("cover")
	c.Do(what, "open_tree", sysprog.Val(tree), sysprog.Str(""), sysprog.Int(unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)).To(one)
	c.Do(what, "move_mount", sysprog.Val(one), sysprog.Str(""), sysprog.Val(fd), sysprog.Str(""), sysprog.Int(emptyToEmpty))
	c.Do("", "close", sysprog.Val(one))
}

func (c *compiler) readonlyPath(i int, path string) {
	what := "make read-only " + path
	fd, tree := c.Slot("path"), c.Slot("tree")
	done := c.Label("read-only " + path)
	op := c.open(what, path, unix.O_PATH, 0).To(fd).On(unix.ENOENT, done)
	if i == 0 {
		op.Note("read-only paths")
	}
	if !c.facts.MountAPI || !c.facts.MountSetattr {
		c.readonlyPathOld(what, path)
		c.Do("", "close", sysprog.Val(fd))
		c.Here(done)
		return
	}
	c.Do(what, "open_tree", sysprog.Val(fd), sysprog.Str(""),
		sysprog.Int(unix.AT_EMPTY_PATH|unix.AT_RECURSIVE|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)).To(tree)
	c.setattr(what, sysprog.Val(tree), unix.AT_RECURSIVE, attr{set: unix.MOUNT_ATTR_RDONLY})
	c.Do(what, "move_mount", sysprog.Val(tree), sysprog.Str(""), sysprog.Val(fd), sysprog.Str(""), sysprog.Int(emptyToEmpty))
	c.Do("", "close", sysprog.Val(tree))
	c.Do("", "close", sysprog.Val(fd))
	c.Here(done)
}

// readonlyPathOld does it with mount(2), which sets all flags at once: those of
// the mount that path lies on are to stay.
func (c *compiler) readonlyPathOld(what, path string) {
	var flags uintptr
	longest := -1
	for _, m := range c.mounts {
		if m.dest == path || strings.HasPrefix(path, m.dest+"/") && len(m.dest) >= longest {
			flags, longest = m.bindFlags(), len(m.dest)
		}
	}
	c.Do(what, "mount", sysprog.Str(path), sysprog.Str(path), sysprog.Int(0), sysprog.Int(unix.MS_BIND|unix.MS_REC), sysprog.Int(0))
	locked, done := c.Label("locked "+path), c.Label("remounted "+path)
	remount := func(flags uintptr) *sysprog.Op {
		return c.Do(what, "mount", sysprog.Int(0), sysprog.Str(path), sysprog.Int(0),
			sysprog.Int(unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|flags), sysprog.Int(0))
	}
	remount(flags).On(unix.EPERM, locked).Next(done)
	c.Here(locked) // a user namespace may not take away flags that its owner has set
	remount(flags | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	c.Here(done)
}

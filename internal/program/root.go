package program

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// rootPropagation is linux.rootfsPropagation as flags of mount(2).
func (c *compiler) rootPropagation() uintptr {
	for _, o := range propagationOptions {
		if o.name == c.linux.RootfsPropagation {
			return o.flag
		}
	}
	return 0
}

// LatePivot tells whether the start goes through a chroot and pivots when all
// is mounted: kernels without the mount API need the host's tree for mount
// sources until then, and hooks that run before the pivot expect to find the
// mounts below the path of the rootfs. A root that is moved instead of pivoted
// cannot lie on the old one already.
func LatePivot(in *Input) bool {
	h := in.Spec.Hooks
	return !in.Facts.MountAPI || in.NoPivot ||
		h != nil && len(h.Prestart)+len(h.CreateRuntime)+len(h.CreateContainer) > 0 //nolint:staticcheck // prestart is deprecated but in use
}

// prepareRoot separates the mount namespace from the host's and attaches the
// root filesystem in it.
//
// Without LatePivot the new root is put on top of the old "/": absolute paths
// still start below it, in the host's tree, until enterRoot pivots, and no
// path to the rootfs needs to be walked again.
func (c *compiler) prepareRoot() {
	flag := c.rootPropagation()
	switch {
	case flag == 0 || flag&unix.MS_UNBINDABLE != 0:
		flag = unix.MS_SLAVE | unix.MS_REC
	default:
		flag |= unix.MS_REC
	}
	c.Do("set propagation of /", "mount", sysprog.Int(0), sysprog.Str("/"), sysprog.Int(0), sysprog.Int(flag), sysprog.Int(0)).
		Note("mounts")
	where := "/"
	if LatePivot(c.in) {
		where = c.in.Rootfs
	}
	if flag&unix.MS_SHARED != 0 {
		// pivot_root(2) refuses a new root on a shared mount.
		parent := where
		if parent != "/" {
			parent = c.in.RootfsMount
		}
		c.Do("make "+parent+" private", "mount", sysprog.Int(0), sysprog.Str(parent), sysprog.Int(0), sysprog.Int(unix.MS_PRIVATE), sysprog.Int(0))
	}
	if !c.facts.MountAPI {
		c.root = c.Slot("root")
		c.Do("bind rootfs "+c.in.Rootfs, "mount", sysprog.Str(c.in.Rootfs), sysprog.Str(c.in.Rootfs), sysprog.Int(0),
			sysprog.Int(unix.MS_BIND|unix.MS_REC), sysprog.Int(0))
		c.openPath("open rootfs "+c.in.Rootfs, c.in.Rootfs, unix.O_PATH|unix.O_DIRECTORY).To(c.root)
	} else {
		if c.root == nil { // else the parent has opened it
			c.openRoot()
		}
		c.Do("attach rootfs", "move_mount", sysprog.Val(c.root), sysprog.Str(""), sysprog.Int(unix.AT_FDCWD), sysprog.Str(where),
			sysprog.Int(unix.MOVE_MOUNT_F_EMPTY_PATH))
	}
	if flag&unix.MS_SHARED != 0 {
		// Or what is mounted in it would appear on the host, too.
		c.Do("make rootfs private", "mount", sysprog.Int(0), sysprog.Str(where), sysprog.Int(0), sysprog.Int(unix.MS_PRIVATE), sysprog.Int(0))
	}
}

func (c *compiler) openRoot() {
	c.root = c.openSlot("root")
	c.Do("open rootfs "+c.in.Rootfs, "open_tree", sysprog.Int(unix.AT_FDCWD), sysprog.Str(c.in.Rootfs),
		sysprog.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)).To(c.root)
}

// enterRoot makes the new root the process's root. From here on no absolute
// path, and no link in an image, leads to the host.
//
// With LatePivot that is a chroot for now, with the working directory left
// outside for relative paths; leaveRoot pivots.
func (c *compiler) enterRoot() {
	if !LatePivot(c.in) {
		c.pivot()
		return
	}
	c.hostRoot = c.Slot("host root")
	c.openPath("open /", "/", unix.O_PATH|unix.O_DIRECTORY).To(c.hostRoot)
	c.Do("enter rootfs", "fchdir", sysprog.Val(c.root))
	c.Do("enter rootfs", "chroot", sysprog.Str("."))
	c.Do("leave working directory outside", "fchdir", sysprog.Val(c.hostRoot))
}

// leaveRoot finishes what enterRoot began and sets the root mount's own
// attributes.
func (c *compiler) leaveRoot() {
	if LatePivot(c.in) {
		c.Do("go to host root", "fchdir", sysprog.Val(c.hostRoot))
		c.Do("go to host root", "chroot", sysprog.Str("."))
		c.createHooks()
		c.pivot()
	}
	if flag := c.rootPropagation(); flag != 0 {
		c.Do("set propagation of the root", "mount", sysprog.Int(0), sysprog.Str("/"), sysprog.Int(0), sysprog.Int(flag), sysprog.Int(0))
		if flag&unix.MS_REC != 0 { // what a mount asks for itself comes last
			for _, m := range c.mounts {
				c.propagate(m)
			}
		}
	}
	if c.spec.Root != nil && c.spec.Root.Readonly {
		if c.facts.MountSetattr {
			c.setattr("make rootfs read-only", sysprog.Val(c.root), 0, attr{set: unix.MOUNT_ATTR_RDONLY})
		} else {
			c.Do("make rootfs read-only", "mount", sysprog.Int(0), sysprog.Str("/"), sysprog.Int(0),
				sysprog.Int(unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY), sysprog.Int(0))
		}
	}
}

func (c *compiler) pivot() {
	c.Do("enter rootfs", "fchdir", sysprog.Val(c.root)).Note("root")
	if c.in.NoPivot {
		c.Do("move rootfs to /", "mount", sysprog.Str("."), sysprog.Str("/"), sysprog.Int(0), sysprog.Int(unix.MS_MOVE), sysprog.Int(0))
		c.Do("enter rootfs", "chroot", sysprog.Str("."))
	} else {
		var old *sysprog.Slot
		shared := c.rootPropagation()&unix.MS_SHARED != 0
		if shared {
			old = c.Slot("old root")
			c.openPath("open /", "/", unix.O_PATH|unix.O_DIRECTORY).To(old)
		}
		c.Do("pivot to rootfs", "pivot_root", sysprog.Str("."), sysprog.Str("."))
		if shared { // or the unmount below would reach the host's tree
			c.Do("go to old root", "fchdir", sysprog.Val(old))
			c.Do("separate old root", "mount", sysprog.Int(0), sysprog.Str("."), sysprog.Int(0), sysprog.Int(unix.MS_SLAVE|unix.MS_REC), sysprog.Int(0))
		}
		c.Do("detach old root", "umount2", sysprog.Str("."), sysprog.Int(unix.MNT_DETACH))
	}
	c.Do("go to /", "chdir", sysprog.Str("/"))
}

// chrootOnly enters the rootfs of a container that has no mount namespace.
func (c *compiler) chrootOnly() {
	c.root = c.Slot("root")
	c.openPath("open rootfs "+c.in.Rootfs, c.in.Rootfs, unix.O_PATH|unix.O_DIRECTORY).To(c.root)
	c.Do("enter rootfs", "fchdir", sysprog.Val(c.root))
	c.Do("enter rootfs", "chroot", sysprog.Str("."))
	c.Do("go to /", "chdir", sysprog.Str("/"))
}

// openPath opens a path in the process's current view.
func (c *compiler) openPath(what, path string, flags int) *sysprog.Op {
	return c.Do(what, "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(path), sysprog.Int(flags|unix.O_CLOEXEC), sysprog.Int(0))
}

type howKey struct {
	flags, resolve int
}

// open opens a path of the container's tree, which an image controls: links
// are resolved inside the new root and magic links of /proc are refused.
// On kernels without openat2 the process's root is the new root already.
func (c *compiler) open(what, path string, flags int, resolve uint64) *sysprog.Op {
	again := c.Label(sysprog.Again)
	c.Here(again)
	op := c.tryOpen(what, path, flags, resolve)
	if c.facts.Openat2 {
		// On the way through a link with ".." a rename or mount anywhere on the
		// machine was in between.
		op.On(unix.EAGAIN, again)
	}
	return op
}

func (c *compiler) tryOpen(what, path string, flags int, resolve uint64) *sysprog.Op {
	if !c.facts.Openat2 {
		if resolve&unix.RESOLVE_NO_SYMLINKS != 0 {
			flags |= unix.O_NOFOLLOW
		}
		return c.openPath(what, path, flags)
	}
	resolve |= unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	key := howKey{flags, int(resolve)}
	how := c.hows[key]
	if how == nil {
		how = c.Buf(make([]byte, unix.SizeofOpenHow))
		binary.NativeEndian.PutUint64(how.Data[0:], uint64(flags|unix.O_CLOEXEC))
		binary.NativeEndian.PutUint64(how.Data[16:], resolve)
		c.hows[key] = how
	}
	return c.Do(what, "openat2", sysprog.Val(c.root), sysprog.Str(path), sysprog.Ptr(how, 0), sysprog.Int(len(how.Data)))
}

// makeDirs emits the making of all missing directories of path, which is
// clean, and stores a descriptor of the last one in the slot it returns.
func (c *compiler) makeDirs(what, path string) *sysprog.Slot {
	at := c.root
	if path == "/" {
		return at
	}
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		name := path[strings.LastIndexByte(path[:i], '/')+1 : i]
		// Whatever keeps it from being made, the open tells whether it is there.
		c.Do(what, "mkdirat", sysprog.Val(at), sysprog.Str(name), sysprog.Int(0o755)).OK(sysprog.AnyErrno)
		dir := c.Slot("dir")
		c.open(what, path[:i], unix.O_PATH|unix.O_DIRECTORY, 0).To(dir)
		if at != c.root {
			c.Do("", "close", sysprog.Val(at))
		}
		at = dir
	}
	return at
}

func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i == 0 {
		return "/", path[1:]
	}
	return path[:i], path[i+1:]
}

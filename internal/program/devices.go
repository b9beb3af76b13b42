package program

import (
	"encoding/binary"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// defaultDevices are what the specification asks every Linux container to have.
var defaultDevices = [...]struct {
	path         string
	major, minor int64
}{
	{"/dev/null", 1, 3},
	{"/dev/zero", 1, 5},
	{"/dev/full", 1, 7},
	{"/dev/random", 1, 8},
	{"/dev/urandom", 1, 9},
	{"/dev/tty", 5, 0},
}

var defaultLinks = [...][2]string{
	{"/proc/self/fd", "/dev/fd"},
	{"/proc/self/fd/0", "/dev/stdin"},
	{"/proc/self/fd/1", "/dev/stdout"},
	{"/proc/self/fd/2", "/dev/stderr"},
}

// deviceList is the spec's devices and the default ones that it does not name.
func (c *compiler) deviceList() []specs.LinuxDevice {
	list := append([]specs.LinuxDevice(nil), c.linux.Devices...)
	for _, d := range defaultDevices {
		named := false
		for _, have := range c.linux.Devices {
			named = named || clean(have.Path) == d.path
		}
		if !named {
			list = append(list, specs.LinuxDevice{Path: d.path, Type: "c", Major: d.major, Minor: d.minor})
		}
	}
	return list
}

// ownsDev tells whether /dev is the container's own: a bind mount on it is
// somebody's, and is left as it is.
func (c *compiler) ownsDev() bool {
	for _, m := range c.mounts {
		if m.dest == "/dev" && m.kind == "bind" {
			return false
		}
	}
	return true
}

// devices emits device nodes and the default links of /dev.
func (c *compiler) devices() {
	if !c.ownsDev() {
		return
	}
	c.Do("clear umask", "umask", sysprog.Int(0)).Note("devices")
	for _, d := range c.deviceList() {
		c.device(d)
	}
	links := defaultLinks[:]
	if c.facts.Kcore {
		links = append(links[:len(links):len(links)], [2]string{"/proc/kcore", "/dev/core"})
	}
	links = append(links[:len(links):len(links)], [2]string{"pts/ptmx", "/dev/ptmx"})
	for _, l := range links {
		at, name := c.placeIn(l[1])
		if name == "ptmx" && c.mounted("/dev/pts", "devpts") {
			c.Do("remove "+l[1], "unlinkat", sysprog.Val(at), sysprog.Str(name), sysprog.Int(0)).OK(sysprog.AnyErrno)
		} else if name == "ptmx" {
			continue
		}
		c.Do("link "+l[1], "symlinkat", sysprog.Str(l[0]), sysprog.Val(at), sysprog.Str(name)).OK(unix.EEXIST).OK(unix.EROFS)
	}
}

func (c *compiler) mounted(dest, kind string) bool {
	for _, m := range c.mounts {
		if m.dest == dest && m.kind == kind {
			return true
		}
	}
	return false
}

// placeIn returns the directory that path lies in, made if it is missing.
func (c *compiler) placeIn(path string) (*sysprog.Slot, string) {
	dir, name := split(clean(path))
	if dir != "/dev" {
		return c.makeDirs("make "+dir, dir), name
	}
	if c.devDir == nil {
		c.devDir = c.makeDirs("make /dev", "/dev")
	}
	return c.devDir, name
}

func (c *compiler) device(d specs.LinuxDevice) {
	mode := uint32(0o666)
	if d.FileMode != nil {
		mode = uint32(*d.FileMode) & 0o7777 // a number as mknod(2) takes it, not Go's FileMode
	}
	kind := uint32(unix.S_IFCHR)
	switch d.Type {
	case "b":
		kind = unix.S_IFBLK
	case "p":
		kind = unix.S_IFIFO
	}
	at, name := c.placeIn(d.Path)
	what := "make device " + d.Path
	if c.in.inUserNS() || c.facts.InUserNS {
		c.bindDevice(what, d.Path, at, name)
		return
	}
	there, exists := c.Label("device "+d.Path), c.Label("existing device "+d.Path)
	made := c.Label("made device " + d.Path)
	c.Do(what, "mknodat", sysprog.Val(at), sysprog.Str(name), sysprog.Int(kind|mode), sysprog.Int(unix.Mkdev(uint32(d.Major), uint32(d.Minor)))).
		On(unix.EEXIST, exists).Next(made)
	c.Here(exists)
	c.sameDevice(d, at, name)
	c.Jump(there)
	c.Here(made)
	if d.UID != nil || d.GID != nil {
		uid, gid := -1, -1
		if d.UID != nil {
			uid = int(*d.UID)
		}
		if d.GID != nil {
			gid = int(*d.GID)
		}
		c.Do("chown "+d.Path, "fchownat", sysprog.Val(at), sysprog.Str(name), sysprog.Int(uid), sysprog.Int(gid), sysprog.Int(unix.AT_SYMLINK_NOFOLLOW))
		c.Do("chmod "+d.Path, "fchmodat", sysprog.Val(at), sysprog.Str(name), sysprog.Int(mode))
	}
	c.Here(there)
}

// sameDevice emits the check that what is there already is the device asked
// for, by its number: statx(2) shows 0:0 for all that is no device.
func (c *compiler) sameDevice(d specs.LinuxDevice, at *sysprog.Slot, name string) {
	const rdev = 128 // offset of stx_rdev_major, stx_rdev_minor
	st, want := c.Buf(make([]byte, 256)), c.Buf(make([]byte, 8))
	if d.Type != "p" {
		binary.NativeEndian.PutUint32(want.Data[0:], uint32(d.Major))
		binary.NativeEndian.PutUint32(want.Data[4:], uint32(d.Minor))
	}
	c.Do("make device "+d.Path, "statx", sysprog.Val(at), sysprog.Str(name), sysprog.Int(unix.AT_SYMLINK_NOFOLLOW), sysprog.Int(unix.STATX_BASIC_STATS), sysprog.Ptr(st, 0))
	differs, same := c.Label("another "+d.Path), c.Label("the same "+d.Path)
	c.Do("", sysprog.Compare, sysprog.Ptr(st, rdev), sysprog.Ptr(want, 0), sysprog.Int(8)).On(unix.EINVAL, differs).Next(same)
	c.Here(differs)
	c.Do("make device "+d.Path+": the image has another file there", sysprog.Raise, sysprog.Int(unix.EEXIST))
	c.Here(same)
}

// openDevices emits, before the pivot, the host's nodes that a user namespace
// gets by bind mounts, since it cannot make any.
func (c *compiler) openDevices() {
	if !c.in.inUserNS() && !c.facts.InUserNS || !c.ownsDev() {
		return
	}
	c.devTrees = map[string]sysprog.Arg{}
	c.devFDs = map[string]int{}
	for _, d := range c.deviceList() {
		if d.Type == "p" {
			continue
		}
		if !c.facts.MountAPI {
			c.devFDs[d.Path] = c.openFixed("open device "+d.Path, d.Path)
			continue
		}
		m := &mount{index: -1, kind: "bind", source: d.Path, dest: d.Path}
		c.openTree(m)
		c.devTrees[d.Path] = m.tree
	}
}

func (c *compiler) bindDevice(what, path string, at *sysprog.Slot, name string) {
	fd := c.Slot("node")
	made := c.Label("made " + path)
	c.Do(what, "openat", sysprog.Val(at), sysprog.Str(name), sysprog.Int(unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC), sysprog.Int(0o666)).
		To(fd).On(unix.EEXIST, made)
	c.Do("", "close", sysprog.Val(fd))
	c.Here(made)
	if n, old := c.devFDs[path]; old {
		c.Do(what, "mount", sysprog.Str(hostFD(n)), sysprog.Str(clean(path)), sysprog.Int(0), sysprog.Int(unix.MS_BIND), sysprog.Int(0))
		return
	}
	tree, ok := c.devTrees[path]
	if !ok { // a FIFO
		c.Do("", "unlinkat", sysprog.Val(at), sysprog.Str(name), sysprog.Int(0)).OK(sysprog.AnyErrno)
		c.Do(what, "mknodat", sysprog.Val(at), sysprog.Str(name), sysprog.Int(unix.S_IFIFO|0o666), sysprog.Int(0))
		return
	}
	c.Do(what, "openat", sysprog.Val(at), sysprog.Str(name), sysprog.Int(unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)).To(fd)
	c.Do(what, "move_mount", tree, sysprog.Str(""), sysprog.Val(fd), sysprog.Str(""), sysprog.Int(emptyToEmpty))
	c.Do("", "close", sysprog.Val(fd))
}

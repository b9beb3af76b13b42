package program

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// Flags of the mount API: fsopen(2), fsmount(2), mount_setattr(2).
const (
	emptyToEmpty  = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	mountAttrSize = 32  // MOUNT_ATTR_SIZE_VER0
	maxFsconfig   = 255 // longest value that fsconfig(2) takes
)

func (c *compiler) parseMounts() error {
	for i := range c.spec.Mounts {
		m, err := parseMount(i, &c.spec.Mounts[i], c.in.Bundle)
		if err != nil {
			return err
		}
		if m.kind == "sysfs" && c.in.inUserNS() && c.in.namespace(specs.NetworkNamespace) == nil {
			// sysfs shows a network namespace and can be mounted only by its
			// owner: show the host's instead, as other runtimes do.
			m.kind, m.source, m.recursive = "bind", "/sys", true
		}
		if err := checkProc(m); err != nil {
			return err
		}
		if !c.facts.MountSetattr && m.rset|m.rclear != 0 {
			return specErr("mounts[%d] %s: recursive attributes need mount_setattr (Linux 5.12)", i, m.dest)
		}
		if !c.facts.MountSetattr && m.idmap {
			return specErr("mounts[%d] %s: id mappings need mount_setattr (Linux 5.12)", i, m.dest)
		}
		c.mounts = append(c.mounts, m)
	}
	return nil
}

// procFiles are the files of /proc that a mount may cover: lxcfs and others
// show the container's own numbers there.
var procFiles = [...]string{
	"cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo",
	"net/dev", "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled",
}

// checkProc refuses mounts that put something else where processes, and what
// starts them, trust the kernel to answer (CVE-2019-16884).
func checkProc(m *mount) error {
	switch {
	case m.dest == "/proc":
		if m.kind == "proc" || m.kind == "bind" || m.remount { // attach sees what is bound
			return nil
		}
	case strings.HasPrefix(m.dest, "/proc/"):
		for _, name := range procFiles {
			if m.dest == "/proc/"+name {
				return nil
			}
		}
	default:
		return nil
	}
	return specErr("mounts[%d] %s: only single files like cpuinfo may be covered in /proc", m.index, m.dest)
}

// isProcfs emits the check that the tree which is to be /proc is one.
func (c *compiler) isProcfs(m *mount) {
	const magic = 0x9fa0 // PROC_SUPER_MAGIC; f_type is the first word of struct statfs
	st, want := c.Buf(make([]byte, 256)), c.Buf(make([]byte, sysprog.WordSize))
	want.SetWord(0, magic)
	what := "mount " + m.source + " on " + m.dest
	c.Do(what, "fstatfs", m.from(c), sysprog.Ptr(st, 0))
	fine, odd := c.Label("is procfs"), c.Label("is no procfs")
	c.Do("", sysprog.Compare, sysprog.Ptr(st, 0), sysprog.Ptr(want, 0), sysprog.Int(sysprog.WordSize)).On(unix.EINVAL, odd).Next(fine)
	c.Here(odd)
	c.Do(what+": not a proc file system", sysprog.Raise, sysprog.Int(0))
	c.Here(fine)
}

// from is the descriptor of a bind mount's source.
func (m *mount) from(c *compiler) sysprog.Arg {
	if c.facts.MountAPI {
		return m.tree
	}
	return sysprog.Int(m.fd)
}

// parentOpensSources tells whether mount sources are opened before the clone:
// the root of a user namespace may not be able to reach them.
func (c *compiler) parentOpensSources() bool {
	return c.in.inUserNS() && c.facts.UID == 0 && !c.facts.InUserNS && c.facts.MountAPI && c.facts.MountSetattr && c.hasMountNS()
}

// beSlave cuts a tree off that was cloned in the host's own mount namespace and
// so is the host's peer: what the user namespace mounts must not go back. For
// the mounts of its new namespace the kernel does the same.
func (c *compiler) beSlave(what string, tree sysprog.Arg) {
	c.setattr(what, tree, unix.AT_RECURSIVE, attr{propagation: unix.MS_SLAVE})
}

// openSources emits, in the parent, the opens of the rootfs and bind sources.
func (c *compiler) openSources() {
	c.openRoot()
	c.beSlave("separate rootfs from the host", sysprog.Val(c.root))
	for _, m := range c.mounts {
		if m.kind == "bind" && !m.remount {
			c.openTree(m)
		}
	}
}

// detachMounts emits the making of every mount as a detached tree. It comes
// before the pivot: sources are the host's paths, and a user namespace may
// mount proc and sysfs only while the host's are visible to it.
func (c *compiler) detachMounts() {
	for _, m := range c.mounts {
		switch {
		case m.remount || m.kind == "cgroup" || m.kind == "cgroup2":
		case !c.facts.MountAPI:
			c.openSourceOld(m)
		case m.kind == "bind":
			if !c.parentOpensSources() {
				c.openTree(m)
			}
			c.treeAttributes(m)
		case c.prepared(m):
			c.treeAttributes(m)
		default:
			c.openFS(m)
		}
	}
	c.detachCgroups()
	c.openNull()
}

// prepared takes the tree that the parent has made for m, if it has.
func (c *compiler) prepared(m *mount) bool {
	fd, ok := c.in.Trees[m.index]
	if ok {
		m.tree = sysprog.Int(fd)
	}
	return ok
}

func (c *compiler) openTree(m *mount) {
	if c.prepared(m) {
		return
	}
	flags := unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
	if m.recursive {
		flags |= unix.AT_RECURSIVE
	}
	if m.noFollow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	fd := c.openSlot("tree " + m.dest)
	c.Do("open mount source "+m.source, "open_tree", sysprog.Int(unix.AT_FDCWD), sysprog.Str(m.source), sysprog.Int(flags)).To(fd)
	m.tree = sysprog.Val(fd)
}

// openFS emits a new file system instance as a detached mount.
func (c *compiler) openFS(m *mount) {
	for _, d := range m.data {
		if _, v, _ := strings.Cut(d, "="); len(v) > maxFsconfig {
			c.stageFS(m)
			return
		}
	}
	what := "mount " + m.kind + " on " + m.dest
	fs, fd := c.Slot("fs "+m.dest), c.Slot("tree "+m.dest)
	c.Do(what, "fsopen", sysprog.Str(m.kind), sysprog.Int(unix.FSOPEN_CLOEXEC)).To(fs)
	set := func(key, value string, flag bool) {
		op := []sysprog.Arg{sysprog.Val(fs), sysprog.Int(unix.FSCONFIG_SET_STRING), sysprog.Str(key), sysprog.Str(value), sysprog.Int(0)}
		w := what + ": option " + key + "=" + value
		if flag {
			op[1], op[3] = sysprog.Int(unix.FSCONFIG_SET_FLAG), sysprog.Int(0)
			w = what + ": option " + key
		}
		c.Do(w, "fsconfig", op...)
	}
	if m.source != "" {
		set("source", m.source, false)
	}
	for _, key := range m.super {
		set(key, "", true)
	}
	for _, d := range m.data {
		key, value, has := strings.Cut(d, "=")
		set(key, value, !has)
	}
	c.Do(what, "fsconfig", sysprog.Val(fs), sysprog.Int(unix.FSCONFIG_CMD_CREATE), sysprog.Int(0), sysprog.Int(0), sysprog.Int(0))
	c.Do(what, "fsmount", sysprog.Val(fs), sysprog.Int(unix.FSMOUNT_CLOEXEC), sysprog.Int(m.set)).To(fd)
	c.Do("", "close", sysprog.Val(fs))
	m.tree = sysprog.Val(fd)
	if m.rset|m.rclear != 0 {
		c.setattr("set attributes of "+m.dest, m.tree, unix.AT_RECURSIVE, attr{set: m.rset, clear: m.rclear})
	}
}

// stageFS mounts with mount(2), whose options may be longer than fsconfig's,
// onto a directory of ours and takes it off again as a detached tree.
func (c *compiler) stageFS(m *mount) {
	what := "mount " + m.kind + " on " + m.dest
	fd := c.Slot("tree " + m.dest)
	c.Do(what, "mount", sysprog.Str(m.source), sysprog.Str(c.in.StateDir), sysprog.Str(m.kind),
		sysprog.Int(m.msFlags|m.bindFlags()), sysprog.Str(strings.Join(m.data, ",")))
	c.Do(what, "open_tree", sysprog.Int(unix.AT_FDCWD), sysprog.Str(c.in.StateDir), sysprog.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)).To(fd)
	c.Do(what, "umount2", sysprog.Str(c.in.StateDir), sysprog.Int(unix.MNT_DETACH))
	m.tree = sysprog.Val(fd)
}

// attr is struct mount_attr of mount_setattr(2), without the id map.
type attr struct{ set, clear, propagation uint64 }

func (c *compiler) setattr(what string, tree sysprog.Arg, flags int, a attr) *sysprog.Op {
	b := c.Buf(make([]byte, mountAttrSize))
	binary.NativeEndian.PutUint64(b.Data[0:], a.set)
	binary.NativeEndian.PutUint64(b.Data[8:], a.clear)
	binary.NativeEndian.PutUint64(b.Data[16:], a.propagation)
	return c.Do(what, "mount_setattr", tree, sysprog.Str(""), sysprog.Int(unix.AT_EMPTY_PATH|flags), sysprog.Ptr(b, 0), sysprog.Int(len(b.Data)))
}

// treeAttributes sets a bind mount's attributes before it is attached, so it
// is never visible without them.
func (c *compiler) treeAttributes(m *mount) {
	if !c.facts.MountSetattr {
		return
	}
	what := "set attributes of " + m.dest
	if c.parentOpensSources() {
		c.beSlave(what, m.tree)
	}
	if m.rset|m.rclear != 0 {
		c.setattr(what, m.tree, unix.AT_RECURSIVE, attr{set: m.rset, clear: m.rclear})
	}
	a, rest := attr{set: m.set, clear: m.clear}, m.propagation
	recursive := 0
	if len(rest) > 0 && a == (attr{}) && rest[0]&unix.MS_SHARED == 0 && c.rootPropagation() == 0 {
		// One call does it; else attributes first, then propagation.
		a.propagation = uint64(rest[0] &^ unix.MS_REC)
		if rest[0]&unix.MS_REC != 0 {
			recursive = unix.AT_RECURSIVE
		}
		m.propagation = rest[1:]
	}
	if a != (attr{}) {
		c.setattr(what, m.tree, recursive, a)
	}
}

// attachMounts emits, inside the new root, the attachment of every mount in
// the order of the spec.
func (c *compiler) attachMounts() {
	for _, m := range c.mounts {
		if m.kind == "bind" && m.dest == "/proc" && !m.remount {
			c.isProcfs(m)
		}
		switch {
		case m.remount:
			c.remount(m)
		case c.v1Tree(m) && !m.group:
			c.attachCgroups(m)
		case !c.facts.MountAPI:
			c.mountOld(m)
		default:
			c.attach(m)
		}
		if m.dest == "/dev" && m.kind != "bind" {
			c.devDir = nil
		}
	}
}

// attach puts a detached mount in its place. Places that are missing are made.
func (c *compiler) attach(m *mount) {
	dst := c.mountPoint(m)
	what := "mount " + m.kind + " on " + m.dest
	op := c.Do(what, "move_mount", m.tree, sysprog.Str(""), sysprog.Val(dst), sysprog.Str(""), sysprog.Int(emptyToEmpty))
	if m.kind == "bind" {
		// A directory and a file: the kernel does not say which of them is wrong.
		odd, done := c.Label("cannot mount on "+m.dest), c.Label("mounted "+m.dest)
		op.On(unix.EINVAL, odd).Next(done)
		c.Here(odd)
		c.Do(what, "openat", sysprog.Val(dst), sysprog.Str("."), sysprog.Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).Plain = true
		c.Do(what, "openat", m.tree, sysprog.Str("."), sysprog.Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).Plain = true
		c.Do(what, sysprog.Raise, sysprog.Int(unix.EINVAL))
		c.Here(done)
	}
	c.Do("", "close", sysprog.Val(dst))
	if !c.facts.MountSetattr && m.kind == "bind" {
		c.remountBind(m)
	}
	c.propagate(m)
}

// propagate sets what propagation is left to set once the mount is attached.
func (c *compiler) propagate(m *mount) {
	for _, p := range m.propagation {
		what := "set propagation of " + m.dest
		if !c.facts.MountSetattr {
			c.Do(what, "mount", sysprog.Int(0), sysprog.Str(m.dest), sysprog.Int(0), sysprog.Int(p), sysprog.Int(0))
			continue
		}
		flags := 0
		if p&unix.MS_REC != 0 {
			flags = unix.AT_RECURSIVE
		}
		c.setattr(what, m.tree, flags, attr{propagation: uint64(p &^ unix.MS_REC)})
	}
}

// mountPoint emits the opening of a mount's destination, making it when it is
// missing: a directory, or a file when the source of a bind mount is one.
func (c *compiler) mountPoint(m *mount) *sysprog.Slot {
	what := "open mount point " + m.dest
	dst := c.Slot("at " + m.dest)
	for _, i := range c.in.Places {
		if i == m.index {
			c.gate(GatePlace)
		}
	}
	found := c.Label("found " + m.dest)
	missing := c.Label("make " + m.dest)
	var resolve uint64
	if m.kind == "proc" || m.kind == "sysfs" {
		resolve = unix.RESOLVE_NO_SYMLINKS // a link could put them, and so later writes, elsewhere
	}
	c.open(what, m.dest, unix.O_PATH, resolve).To(dst).On(unix.ENOENT, missing).Next(found)
	c.Here(missing)
	start := len(c.Ops)
	dir, name := split(m.dest)
	at := c.makeDirs("make "+dir, dir)
	if m.kind == "bind" {
		isDir, isFile := c.Label("directory "+m.dest), c.Label("file "+m.dest)
		probe := c.Slot("probe")
		c.Do("look at "+m.source, "openat", m.from(c), sysprog.Str("."), sysprog.Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).
			To(probe).On(unix.ENOTDIR, isFile)
		c.Do("", "close", sysprog.Val(probe)).Next(isDir)
		c.Here(isFile)
		made := c.Label("made " + m.dest)
		c.Do("make "+m.dest, "openat", sysprog.Val(at), sysprog.Str(name),
			sysprog.Int(unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC), sysprog.Int(0o755)).To(probe).On(unix.EEXIST, made)
		c.Do("", "close", sysprog.Val(probe)).Next(made)
		c.Here(isDir)
		c.Do("make "+m.dest, "mkdirat", sysprog.Val(at), sysprog.Str(name), sysprog.Int(0o755)).OK(unix.EEXIST)
		c.Here(made)
	} else {
		c.Do("make "+m.dest, "mkdirat", sysprog.Val(at), sysprog.Str(name), sysprog.Int(0o755)).OK(unix.EEXIST)
	}
	if at != c.root {
		c.Do("", "close", sysprog.Val(at))
	}
	c.open(what, m.dest, unix.O_PATH, resolve).To(dst)
	for i := start; i < len(c.Ops); i++ {
		c.Missing[i] = m.index
	}
	c.Here(found)
	return dst
}

// remount emits an option change of a mount that is there already.
func (c *compiler) remount(m *mount) {
	flags := m.msFlags | m.bindFlags() | unix.MS_REMOUNT
	if m.kind == "bind" {
		flags |= unix.MS_BIND
	}
	data := sysprog.Int(0)
	if len(m.data) > 0 {
		data = sysprog.Str(strings.Join(m.data, ","))
	}
	c.Do("remount "+m.dest, "mount", sysprog.Str(m.source), sysprog.Str(m.dest), sysprog.Int(0), sysprog.Int(flags), data)
}

// openSourceOld emits, for kernels without the mount API, the opening of a
// bind source under a descriptor number known here, so that the path
// proc/self/fd/N names it from inside. A file system whose options are paths
// of the host is mounted at the state directory first, and bound from there.
func (c *compiler) openSourceOld(m *mount) {
	switch {
	case m.kind == "bind":
		m.fd = c.openFixed("open mount source "+m.source, m.source)
	case m.hostPaths():
		c.Do("mount "+m.kind+" on "+m.dest, "mount", sysprog.Str(m.source), sysprog.Str(c.in.StateDir), sysprog.Str(m.kind),
			sysprog.Int(m.msFlags|m.bindFlags()), sysprog.Str(strings.Join(m.data, ",")))
		m.fd = c.openFixed("open "+m.kind+" for "+m.dest, c.in.StateDir)
	}
}

// hostPaths tells whether the source or an option of a file system is a path.
func (m *mount) hostPaths() bool {
	paths := strings.HasPrefix(m.source, "/")
	for _, d := range m.data {
		paths = paths || strings.Contains(d, "=/")
	}
	return paths
}

func (c *compiler) openFixed(what, path string) int {
	fd := c.Slot("source")
	c.openPath(what, path, unix.O_PATH).To(fd)
	return c.fixFD(what, fd)
}

func (c *compiler) fixFD(what string, fd *sysprog.Slot) int {
	n := c.fixed
	c.fixed++
	c.Do(what, "dup3", sysprog.Val(fd), sysprog.Int(n), sysprog.Int(unix.O_CLOEXEC))
	c.Do("", "close", sysprog.Val(fd))
	return n
}

// hostFD is the path of a fixed descriptor from the host's root, which is the
// working directory until leaveRoot.
func hostFD(n int) string { return "proc/self/fd/" + strconv.Itoa(n) }

// mountOld emits mount(2) inside the chroot.
func (c *compiler) mountOld(m *mount) {
	c.Do("", "close", sysprog.Val(c.mountPoint(m)))
	what := "mount " + m.kind + " on " + m.dest
	if m.kind != "bind" && !m.hostPaths() {
		c.mountFSOld(what, m)
		c.propagate(m)
		return
	}
	flags := uintptr(unix.MS_BIND)
	if m.recursive {
		flags |= unix.MS_REC
	}
	c.Do(what, "mount", sysprog.Str(hostFD(m.fd)), sysprog.Str(m.dest), sysprog.Int(0), sysprog.Int(flags), sysprog.Int(0))
	if m.kind == "bind" {
		c.remountBind(m)
	}
	c.propagate(m)
}

func (c *compiler) mountFSOld(what string, m *mount) {
	source, data := m.source, sysprog.Int(0)
	if source == "" {
		source = m.kind
	}
	if len(m.data) > 0 {
		data = sysprog.Str(strings.Join(m.data, ","))
	}
	// Read-only is the mount, as with the mount API, not the file system.
	flags := m.bindFlags()
	c.Do(what, "mount", sysprog.Str(source), sysprog.Str(m.dest), sysprog.Str(m.kind), sysprog.Int(m.msFlags|flags&^unix.MS_RDONLY), data)
	if m.copyUp {
		c.gate(GateCopyUp)
	}
	if flags&unix.MS_RDONLY != 0 {
		c.remountBind(m)
	}
}

// remountBind sets a bind mount's attributes where mount_setattr is missing.
// mount(2) sets all at once, so those that the source has are given again.
func (c *compiler) remountBind(m *mount) {
	if m.set|m.clear == 0 {
		return
	}
	flags := c.in.SourceFlags[m.index]&^msFlags(m.clear) | m.bindFlags()
	c.Do("set attributes of "+m.dest, "mount", sysprog.Int(0), sysprog.Str(m.dest), sysprog.Int(0),
		sysprog.Int(unix.MS_REMOUNT|unix.MS_BIND|flags), sysprog.Int(0))
}

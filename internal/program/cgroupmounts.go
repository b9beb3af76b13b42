package program

import (
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cgroup"
	"tare.dev/tare/internal/sysprog"
)

// v1Tree tells whether a mount shows v1 hierarchies, several of them
// below one directory.
func (c *compiler) v1Tree(m *mount) bool { return m.kind == "cgroup" && !c.in.CgroupV2 }

// detachCgroups emits detached mounts of the container's control groups.
func (c *compiler) detachCgroups() {
	for _, m := range c.mounts {
		if m.remount || m.kind != "cgroup" && m.kind != "cgroup2" {
			continue
		}
		if !c.v1Tree(m) {
			c.detachCgroup2(m)
			continue
		}
		if c.facts.MountAPI {
			top := &mount{
				kind: "tmpfs", source: "tmpfs", dest: m.dest, data: []string{"mode=755"},
				set: m.set &^ unix.MOUNT_ATTR_RDONLY,
			}
			c.openFS(top)
			m.tree = top.tree
		}
		for _, h := range c.in.CgroupMounts {
			if !h.V2 {
				c.detachCgroup1(h)
			}
		}
	}
}

// ownCgroup is the host's path of the container's group in v1 hierarchy h.
func (c *compiler) ownCgroup(h cgroup.Mount) string {
	if c.in.Cgroup != nil {
		for _, name := range h.Controllers {
			if dir := c.in.Cgroup.Group.Paths[name]; dir != "" {
				return dir
			}
		}
	}
	return h.Mountpoint
}

func (c *compiler) detachCgroup1(h cgroup.Mount) {
	name := path.Base(h.Mountpoint)
	own := c.in.namespace(specs.CgroupNamespace) != nil
	switch {
	case !c.facts.MountAPI && !own:
		c.cgroupFDs = append(c.cgroupFDs, c.openFixed("open cgroup "+name, c.ownCgroup(h)))
		return
	case !c.facts.MountAPI:
		return
	case !own:
		b := &mount{kind: "bind", source: c.ownCgroup(h), dest: "cgroup " + name, index: -1}
		c.openTree(b)
		c.cgroupTrees = append(c.cgroupTrees, b.tree)
		return
	}
	fs := &mount{
		kind: "cgroup", source: "cgroup", dest: "cgroup " + name, data: h.Controllers,
		set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC,
	}
	c.openFS(fs)
	c.cgroupTrees = append(c.cgroupTrees, fs.tree)
}

// detachCgroup2 shows the container's part of the hierarchy as the whole in a
// cgroup namespace of its own, and all of it without: /proc/self/cgroup then
// names a path in it.
func (c *compiler) detachCgroup2(m *mount) {
	own := c.in.namespace(specs.CgroupNamespace) != nil
	source := m.source
	for _, h := range c.in.CgroupMounts {
		if h.V2 {
			source = h.Mountpoint
		}
	}
	m.kind = "cgroup2"
	if own {
		m.source = "cgroup"
	} else {
		m.kind, m.source = "bind", source
		m.recursive = true
	}
	switch {
	case !c.facts.MountAPI:
		c.openSourceOld(m)
	case own:
		c.openFS(m)
	default:
		c.openTree(m)
		c.treeAttributes(m)
	}
	m.group = true
}

// attachCgroups emits the attachment of what detachCgroups has made.
func (c *compiler) attachCgroups(m *mount) {
	dst := c.mountPoint(m)
	what := "mount cgroup on " + m.dest
	if !c.facts.MountAPI {
		c.attachCgroupsOld(m, dst)
		return
	}
	c.Do(what, "move_mount", m.tree, sysprog.Str(""), sysprog.Val(dst), sysprog.Str(""), sysprog.Int(emptyToEmpty))
	i := 0
	for _, h := range c.in.CgroupMounts {
		if h.V2 {
			continue
		}
		name := path.Base(h.Mountpoint)
		c.Do(what, "mkdirat", m.tree, sysprog.Str(name), sysprog.Int(0o755))
		c.Do(what+"/"+name, "move_mount", c.cgroupTrees[i], sysprog.Str(""), m.tree, sysprog.Str(name), sysprog.Int(unix.MOVE_MOUNT_F_EMPTY_PATH))
		switch {
		case m.set&unix.MOUNT_ATTR_RDONLY == 0:
		case c.facts.MountSetattr:
			c.setattr(what, c.cgroupTrees[i], 0, attr{set: m.set})
		default:
			c.remountBind(&mount{dest: m.dest + "/" + name, set: m.set})
		}
		for _, link := range h.Controllers {
			if link != name && !strings.Contains(link, "=") {
				c.Do(what, "symlinkat", sysprog.Str(name), m.tree, sysprog.Str(link))
			}
		}
		i++
	}
	c.propagate(m)
	switch {
	case m.set&unix.MOUNT_ATTR_RDONLY == 0:
	case c.facts.MountSetattr:
		c.setattr(what, m.tree, 0, attr{set: m.set})
	default:
		c.remountBind(m)
	}
}

// attachCgroupsOld does the same with mount(2), for v1 hierarchies.
func (c *compiler) attachCgroupsOld(m *mount, dst *sysprog.Slot) {
	what := "mount cgroup on " + m.dest
	c.Do("", "close", sysprog.Val(dst))
	flags := unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	c.Do(what, "mount", sysprog.Str("tmpfs"), sysprog.Str(m.dest), sysprog.Str("tmpfs"), sysprog.Int(flags), sysprog.Str("mode=755"))
	i := 0
	for _, h := range c.in.CgroupMounts {
		if h.V2 {
			continue
		}
		name := path.Base(h.Mountpoint)
		at := m.dest + "/" + name
		c.Do(what, "mkdirat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(at), sysprog.Int(0o755))
		if c.in.namespace(specs.CgroupNamespace) != nil {
			c.Do("mount cgroup on "+at, "mount", sysprog.Str("cgroup"), sysprog.Str(at), sysprog.Str("cgroup"),
				sysprog.Int(flags), sysprog.Str(strings.Join(h.Controllers, ",")))
		} else {
			c.Do("mount cgroup on "+at, "mount", sysprog.Str(hostFD(c.cgroupFDs[i])), sysprog.Str(at), sysprog.Int(0), sysprog.Int(unix.MS_BIND), sysprog.Int(0))
			i++
		}
		if m.set&unix.MOUNT_ATTR_RDONLY != 0 {
			c.remountBind(&mount{dest: at, set: m.set})
		}
		for _, link := range h.Controllers {
			if link != name && !strings.Contains(link, "=") {
				c.Do(what, "symlinkat", sysprog.Str(name), sysprog.Int(unix.AT_FDCWD), sysprog.Str(m.dest+"/"+link))
			}
		}
	}
	if m.set&unix.MOUNT_ATTR_RDONLY != 0 {
		c.remountBind(m)
	}
	c.propagate(m)
}

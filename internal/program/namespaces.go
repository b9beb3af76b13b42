package program

import (
	"fmt"
	"sort"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// openNamespaces emits the opens of all namespaces joined by path. The parent
// makes them, before the child changes its user and mounts.
func (c *compiler) openNamespaces() {
	for _, n := range namespaces {
		ns := c.in.namespace(n.kind)
		if ns == nil || ns.Path == "" {
			continue
		}
		fd := c.openSlot(string(n.kind) + " namespace")
		c.Do("open "+string(n.kind)+" namespace", "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str(ns.Path),
			sysprog.Int(unix.O_RDONLY|unix.O_CLOEXEC)).To(fd)
		c.nsFDs[n.kind] = fd
	}
}

func (c *compiler) setns(kind specs.LinuxNamespaceType, flag uintptr) {
	path := c.in.namespace(kind).Path
	c.Do(fmt.Sprintf("join %s namespace %s", kind, path), "setns", sysprog.Val(c.nsFDs[kind]), sysprog.Int(flag))
}

// namespaces emits becoming root of the user namespace, then joining and
// making all other namespaces but pid and user, which the clone made.
func (c *compiler) namespaces() {
	if c.in.inUserNS() {
		c.becomeRoot()
	}
	var flags uintptr
	for _, n := range namespaces[2:] {
		switch {
		case c.in.joins(n.kind):
			c.setns(n.kind, n.flag)
		case c.in.newNS(n.kind):
			flags |= n.flag
		}
	}
	if rest := flags &^ uintptr(unix.CLONE_NEWCGROUP); rest != 0 {
		c.Do("make namespaces", "unshare", sysprog.Int(rest))
	}
	if flags&unix.CLONE_NEWCGROUP != 0 {
		// The new namespace's root is where the process is now, so the last
		// controller is joined first.
		c.joinLate()
		c.Do("make cgroup namespace", "unshare", sysprog.Int(unix.CLONE_NEWCGROUP))
	}
	if c.in.newNS(specs.TimeNamespace) {
		c.timeNamespace()
	}
}

// joinLate moves the process into the v1 controllers kept for last.
func (c *compiler) joinLate() {
	for _, fd := range c.late {
		c.Do("join the memory cgroup", "write", sysprog.Val(fd), sysprog.Str("0"), sysprog.Int(1))
		c.Do("", "close", sysprog.Val(fd))
	}
	c.late = nil
}

// becomeRoot takes the namespace's root ids: until then the process has the
// parent's, which the namespace may not map.
func (c *compiler) becomeRoot() {
	if c.facts.UID != 0 || c.facts.InUserNS {
		// The parent had to write the maps through this process's /proc files,
		// which only a dumpable process owns. From now on none may trace it.
		c.undumpable()
	}
	if !c.in.DenySetgroups {
		c.Do("drop groups", "setgroups", sysprog.Int(0), sysprog.Int(0)).OK(unix.EPERM)
	}
	c.Do("become root of the user namespace", "setresgid", sysprog.Int(0), sysprog.Int(0), sysprog.Int(0))
	c.Do("become root of the user namespace", "setresuid", sysprog.Int(0), sysprog.Int(0), sysprog.Int(0))
}

// timeNamespace sets the offsets, then enters the namespace: unshare(2) makes
// it for children only. See time_namespaces(7).
func (c *compiler) timeNamespace() {
	var clocks []string
	for clock := range c.in.timeOffsets() {
		clocks = append(clocks, clock)
	}
	sort.Strings(clocks)
	if len(clocks) > 0 {
		var sb strings.Builder
		for _, clock := range clocks {
			o := c.in.timeOffsets()[clock]
			fmt.Fprintf(&sb, "%s %d %d\n", clock, o.Secs, o.Nanosecs)
		}
		c.writeFile("set time offsets", "/proc/self/timens_offsets", sb.String(), false)
	}
	fd := c.Slot("time namespace")
	c.Do("open time namespace", "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str("/proc/self/ns/time_for_children"),
		sysprog.Int(unix.O_RDONLY|unix.O_CLOEXEC)).To(fd)
	c.Do("enter time namespace", "setns", sysprog.Val(fd), sysprog.Int(unix.CLONE_NEWTIME))
	c.Do("", "close", sysprog.Val(fd))
}

// session makes the process a session leader with a keyring of its own.
func (c *compiler) session() {
	c.Do("start a session", "setsid").OK(unix.EPERM)
	if !c.in.NoKeyring {
		const joinSessionKeyring = 1
		// ENOSYS: no keys in this kernel. EPERM: a seccomp filter around us.
		c.Do("join session keyring", "keyctl", sysprog.Int(joinSessionKeyring), sysprog.Str("_ses."+c.in.ID)).
			OK(unix.ENOSYS).OK(unix.EPERM)
	}
}

// network brings the loopback device of a new network namespace up.
func (c *compiler) network() {
	if !c.in.newNS(specs.NetworkNamespace) {
		return
	}
	req := make([]byte, 40) // struct ifreq, netdevice(7)
	copy(req, "lo")
	req[16] = unix.IFF_UP
	fd := c.Slot("socket")
	none := c.Label("no IPv4")
	c.Do("bring up lo", "socket", sysprog.Int(unix.AF_INET), sysprog.Int(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), sysprog.Int(0)).
		On(unix.EAFNOSUPPORT, none).To(fd)
	c.Do("bring up lo", "ioctl", sysprog.Val(fd), sysprog.Int(unix.SIOCSIFFLAGS), sysprog.Ptr(c.Buf(req), 0))
	c.Do("", "close", sysprog.Val(fd))
	c.Here(none)
}

func (c *compiler) hostname() {
	if s := c.spec.Hostname; s != "" {
		c.Do("set hostname "+s, "sethostname", sysprog.Str(s), sysprog.Int(len(s)))
	}
	if s := c.spec.Domainname; s != "" {
		c.Do("set domainname "+s, "setdomainname", sysprog.Str(s), sysprog.Int(len(s)))
	}
}

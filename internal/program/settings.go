package program

import (
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// procSettings emits what is set through /proc. It uses the host's, before the
// pivot: in the container's a link or a mount could lead a write elsewhere.
func (c *compiler) procSettings() error {
	if v := c.proc().OOMScoreAdj; v != nil && !c.in.inUserNS() { // else it is set already
		c.oomScore(*v)
	}
	keys := make([]string, 0, len(c.linux.Sysctl))
	for k := range c.linux.Sysctl {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		c.writeFile("set sysctl "+k, "/proc/sys/"+sysctlPath(k), c.linux.Sysctl[k], false)
	}
	return c.labels()
}

func (c *compiler) oomScore(v int) {
	c.writeFile("set oom_score_adj", "/proc/self/oom_score_adj", strconv.Itoa(v), false)
}

// sysctlPath turns a name in sysctl(8)'s or /proc/sys's form into a path. When
// the first separator is a dot, dots separate, and slashes stand for dots.
func sysctlPath(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' {
		return strings.NewReplacer(".", "/", "/", ".").Replace(name)
	}
	return name
}

// labels emits the security labels that take effect at the execve.
func (c *compiler) labels() error {
	p := c.proc()
	if p.ApparmorProfile != "" {
		if !c.facts.AppArmor {
			return specErr("process.apparmorProfile %q: this kernel runs no AppArmor", p.ApparmorProfile)
		}
		c.label("set AppArmor profile "+p.ApparmorProfile, "apparmor/exec", "exec "+p.ApparmorProfile)
	}
	if p.SelinuxLabel != "" {
		if !c.facts.SELinux {
			return specErr("process.selinuxLabel %q: this kernel runs no SELinux", p.SelinuxLabel)
		}
		c.label("set SELinux label "+p.SelinuxLabel, "exec", p.SelinuxLabel)
	}
	return nil
}

func (c *compiler) label(what, file, value string) {
	fd := c.fileSlot()
	old := c.Label("old attr " + file)
	opened := c.Label("opened attr " + file)
	flags := sysprog.Int(unix.O_WRONLY | unix.O_CLOEXEC)
	c.Do(what, "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str("/proc/thread-self/attr/"+file), flags).To(fd).On(unix.ENOENT, old).Next(opened)
	c.Here(old) // Linux < 5.8 has one file for all modules
	c.Do(what, "openat", sysprog.Int(unix.AT_FDCWD), sysprog.Str("/proc/thread-self/attr/exec"), flags).To(fd)
	c.Here(opened)
	c.Do(what, "write", sysprog.Val(fd), sysprog.Str(value), sysprog.Int(len(value)))
	c.close(fd)
}

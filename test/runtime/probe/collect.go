package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"tare.dev/tare/test/runtime/report"
)

// collector gathers facts; what cannot be read becomes a line in Errors.
type collector struct{ report.Report }

func collect() report.Report {
	var c collector
	c.FDs = descriptors() // first: nothing of ours is open yet
	c.identity()
	c.status()
	c.limits()
	c.scheduling()
	c.names()
	c.clocks()
	c.network()
	c.mountTable()
	c.devices("/dev")
	c.tty()
	c.keyring()
	return c.Report
}

func (c *collector) note(err error) {
	if err != nil {
		c.Errors = append(c.Errors, err.Error())
	}
}

// text reads a file without the Go poller, which would open descriptors of its own.
func (c *collector) text(path string) string {
	b, err := slurp(path)
	c.note(err)
	return string(b)
}

func slurp(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return all, nil
		}
		all = append(all, buf[:n]...)
	}
}

// entries lists a directory; skip is the descriptor it used.
func entries(path string) (found []string, skip int, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil || n <= 0 {
			sort.Strings(found)
			return found, fd, err
		}
		_, _, found = unix.ParseDirent(buf[:n], -1, found)
	}
}

// descriptors lists what is open. Without /proc it asks for each of the first 256.
func descriptors() map[int]string {
	fds := map[int]string{}
	found, own, err := entries("/proc/self/fd")
	if err != nil {
		for fd := range 256 {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
				fds[fd] = ""
			}
		}
		return fds
	}
	for _, name := range found {
		fd, err := strconv.Atoi(name)
		if err != nil || fd == own {
			continue
		}
		target, err := os.Readlink("/proc/self/fd/" + name)
		if err == nil {
			fds[fd] = target
		}
	}
	return fds
}

func (c *collector) identity() {
	c.Pid, c.PPid, c.Pgrp = unix.Getpid(), unix.Getppid(), unix.Getpgrp()
	c.Sid, _ = unix.Getsid(0)
	c.Args, c.Env = os.Args, os.Environ()
	var err error
	c.Cwd, err = unixGetwd()
	c.note(err)
	c.Exe, _ = os.Readlink("/proc/self/exe")
	c.Umask = unix.Umask(0)
	unix.Umask(c.Umask)
	c.Groups, err = unix.Getgroups()
	c.note(err)
	c.UIDMap, c.GIDMap = c.text("/proc/self/uid_map"), c.text("/proc/self/gid_map")
	c.SetGroups = strings.TrimSpace(c.text("/proc/self/setgroups"))
	c.OOMScoreAdj, _ = strconv.Atoi(strings.TrimSpace(c.text("/proc/self/oom_score_adj")))
	c.Cgroup = c.text("/proc/self/cgroup")
	found, _, err := entries("/proc")
	c.note(err)
	for _, name := range found {
		if pid, err := strconv.Atoi(name); err == nil {
			c.Processes = append(c.Processes, pid)
		}
	}
}

// unixGetwd asks the kernel, not $PWD.
func unixGetwd() (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buf)
	if err != nil {
		return "", fmt.Errorf("getcwd: %w", err)
	}
	return string(bytes.TrimRight(buf[:n], "\x00")), nil
}

// status reads /proc/self/status, which describes the first thread, the one that was executed.
func (c *collector) status() {
	c.Caps = map[string]uint64{}
	sets := map[string]string{
		"CapInh": report.Inheritable, "CapPrm": report.Permitted, "CapEff": report.Effective,
		"CapBnd": report.Bounding, "CapAmb": report.Ambient,
	}
	for _, line := range strings.Split(c.text("/proc/self/status"), "\n") {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if set, ok := sets[key]; ok {
			c.Caps[set], _ = strconv.ParseUint(value, 16, 64)
		}
		switch key {
		case "Uid":
			fmt.Sscan(value, &c.UID[0], &c.UID[1], &c.UID[2], &c.UID[3])
		case "Gid":
			fmt.Sscan(value, &c.GID[0], &c.GID[1], &c.GID[2], &c.GID[3])
		case "NoNewPrivs":
			c.NoNewPrivs, _ = strconv.Atoi(value)
		case "Seccomp":
			c.Seccomp, _ = strconv.Atoi(value)
		case "Seccomp_filters":
			c.SeccompFilters, _ = strconv.Atoi(value)
		case "SigBlk":
			c.SigBlocked = value
		}
	}
}

// limits reads the resource limits. The Go runtime raises the soft RLIMIT_NOFILE at start: only its hard value is ours.
func (c *collector) limits() {
	c.Rlimits = map[string][2]uint64{}
	for i, name := range []string{
		"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE",
		"MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
	} {
		var l [2]uint64
		_, _, e := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(i), 0, uintptr(unsafe.Pointer(&l)), 0, 0)
		if e == 0 {
			c.Rlimits["RLIMIT_"+name] = l
		}
	}
}

func (c *collector) scheduling() {
	pid := unix.Getpid() // the first thread's id
	prio, _, e := unix.RawSyscall(unix.SYS_IOPRIO_GET, 1, uintptr(pid), 0)
	if e == 0 {
		c.IOPrioClass, c.IOPrioLevel = int(prio>>13)&7, int(prio)&0x1fff
	}
	a, err := unix.SchedGetAttr(pid, 0)
	c.note(err)
	if err == nil {
		c.Scheduler = report.Scheduler{
			Policy: a.Policy, Flags: a.Flags, Nice: a.Nice, Priority: a.Priority,
			Runtime: a.Runtime, Deadline: a.Deadline, Period: a.Period,
		}
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &set); err == nil {
		for i := range len(set) * 64 {
			if set.IsSet(i) {
				c.Affinity = append(c.Affinity, i)
			}
		}
	}
	var mode int32
	_, _, e = unix.RawSyscall6(unix.SYS_GET_MEMPOLICY, uintptr(unsafe.Pointer(&mode)), 0, 0, 0, 0, 0)
	if e == 0 {
		c.MemPolicy = int(mode & 0xff)
	}
	p, _, e := unix.RawSyscall(unix.SYS_PERSONALITY, 0xffffffff, 0, 0)
	if e == 0 {
		c.Personality = uint32(p)
	}
}

func (c *collector) names() {
	var u unix.Utsname
	c.note(unix.Uname(&u))
	c.Hostname = unix.ByteSliceToString(u.Nodename[:])
	c.Domainname = unix.ByteSliceToString(u.Domainname[:])
	c.Machine = unix.ByteSliceToString(u.Machine[:])
	c.Namespaces = map[string]string{}
	for _, n := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"} {
		target, err := os.Readlink("/proc/self/ns/" + n)
		c.note(err)
		c.Namespaces[n] = target
	}
}

func (c *collector) clocks() {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err == nil {
		c.Monotonic = int64(ts.Sec)
	}
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err == nil {
		c.Boottime = int64(ts.Sec)
	}
}

// mountTable parses /proc/self/mountinfo, see proc_pid_mountinfo(5).
func (c *collector) mountTable() {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for _, line := range strings.Split(strings.TrimSpace(c.text("/proc/self/mountinfo")), "\n") {
		f := strings.Fields(line)
		dash := 6
		for dash < len(f) && f[dash] != "-" {
			dash++
		}
		if dash+3 >= len(f) {
			continue
		}
		c.Mounts = append(c.Mounts, report.Mount{
			Root: unescape.Replace(f[3]), Point: unescape.Replace(f[4]),
			Options: strings.Split(f[5], ","), Optional: f[6:dash],
			Type: f[dash+1], Source: unescape.Replace(f[dash+2]), Super: strings.Split(f[dash+3], ","),
		})
	}
}

func (c *collector) devices(dir string) {
	found, _, err := entries(dir)
	if err != nil {
		return
	}
	for _, name := range found {
		path := filepath.Join(dir, name)
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil {
			continue
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			c.devices(path)
			continue
		}
		d := report.Device{
			Path: path, Type: kind(uint32(st.Mode)), Mode: uint32(st.Mode) & 0o7777, UID: st.Uid, GID: st.Gid,
			Major: unix.Major(uint64(st.Rdev)), Minor: unix.Minor(uint64(st.Rdev)),
		}
		d.Link, _ = os.Readlink(path)
		c.Devices = append(c.Devices, d)
	}
}

func kind(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFCHR:
		return "c"
	case unix.S_IFBLK:
		return "b"
	case unix.S_IFIFO:
		return "p"
	case unix.S_IFLNK:
		return "l"
	case unix.S_IFSOCK:
		return "s"
	case unix.S_IFDIR:
		return "d"
	}
	return "-"
}

func (c *collector) tty() {
	for fd := range 3 {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		c.TTY.Terminals[fd] = err == nil
		if fd != 0 || err != nil {
			continue
		}
		c.TTY.ONLCR = t.Oflag&unix.ONLCR != 0
		c.TTY.Name = c.FDs[0]
		if w, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
			c.TTY.Rows, c.TTY.Cols = w.Row, w.Col
		}
		c.TTY.Foreground, _ = unix.IoctlGetInt(0, unix.TIOCGPGRP)
	}
	if fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		c.TTY.Controlling = true
		unix.Close(fd)
	}
}

func (c *collector) keyring() {
	d, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, unix.KEY_SPEC_SESSION_KEYRING)
	c.note(err)
	id, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
	if err == nil {
		c.Keyring = fmt.Sprintf("%d;%s", id, d)
	}
}

// Package host knows what this kernel and machine can do, asked once.
// A Facts value is all that a compiler of start programs may know of the
// machine, so tests can make up any machine.
// What control groups there are is the business of package cgroup.
package host

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Facts are the abilities of a kernel and the state of the calling process.
type Facts struct {
	Major, Minor int // of the kernel's version

	Clone3       bool // clone3(2): Linux 5.3
	ClearSighand bool // CLONE_CLEAR_SIGHAND: Linux 5.5
	IntoCgroup   bool // CLONE_INTO_CGROUP that obeys the group's cpuset: see intoCgroup
	Pidfd        bool // CLONE_PIDFD: Linux 5.2
	PidfdSetns   bool // setns(2) on a pidfd: Linux 5.8
	MountAPI     bool // open_tree, move_mount, fsopen, fsconfig, fsmount: Linux 5.2
	Openat2      bool // openat2(2): Linux 5.6
	MountSetattr bool // mount_setattr(2): Linux 5.12
	CloseRange   bool // close_range(2) with CLOSE_RANGE_CLOEXEC: Linux 5.11
	CloneTree    bool // OPEN_TREE_CLONE of a detached mount: Linux 6.15
	TimeNS       bool // time namespaces: Linux 5.6
	CgroupNS     bool
	UserNS       bool
	ExitInfo     bool // PIDFD_GET_INFO tells exit codes, pidfds can be bind-mounted: Linux 6.15

	LastCap  int    // highest capability number
	Caps     uint64 // capabilities that the caller has (its permitted set)
	AppArmor bool
	SELinux  bool
	Kcore    bool // there is a /proc/kcore
	InUserNS bool // the caller is in a user namespace of its own
	UID, GID int  // effective ids of the caller
}

// Probe asks the running kernel.
func Probe() Facts {
	f := Facts{UID: os.Geteuid(), GID: os.Getegid(), LastCap: 40}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		f.Major, f.Minor = version(unix.ByteSliceToString(u.Release[:]))
	}
	// A call that exists complains about bad arguments. Where a filter or an
	// old kernel says ENOSYS or EPERM, the older way is taken.
	f.Clone3 = there(unix.SYS_CLONE3, 0, 0)
	f.MountAPI = there(unix.SYS_FSOPEN, 0, ^uintptr(0)) && there(unix.SYS_MOVE_MOUNT, ^uintptr(0), 0) && f.UID == 0 ||
		f.AtLeast(5, 2) && f.UID != 0
	f.Openat2 = there(unix.SYS_OPENAT2, 0, 0)
	f.MountSetattr = there(unix.SYS_MOUNT_SETATTR, ^uintptr(0), 0)
	f.CloseRange = f.AtLeast(5, 11) && there(unix.SYS_CLOSE_RANGE, ^uintptr(0), 0)
	f.ClearSighand = f.Clone3 && f.AtLeast(5, 5)
	f.IntoCgroup = f.Clone3 && f.intoCgroup()
	f.Pidfd = f.AtLeast(5, 3)
	f.PidfdSetns = f.AtLeast(5, 8)
	f.CloneTree = f.MountAPI && f.AtLeast(6, 15)
	f.ExitInfo = f.AtLeast(6, 15)
	f.TimeNS = exists("/proc/self/ns/time")
	f.CgroupNS = exists("/proc/self/ns/cgroup")
	f.UserNS = exists("/proc/self/ns/user")
	f.Kcore = exists("/proc/kcore")
	f.AppArmor = first("/sys/module/apparmor/parameters/enabled") == 'Y'
	f.SELinux = exists("/sys/fs/selinux/enforce")
	f.InUserNS = inUserNS(read("/proc/self/uid_map"))
	f.Caps = permitted()
	if n, err := strconv.Atoi(strings.TrimSpace(read("/proc/sys/kernel/cap_last_cap"))); err == nil {
		f.LastCap = n
	}
	return limited(f)
}

// intoCgroup tells whether CLONE_INTO_CGROUP is to be trusted. Linux has it from 5.7 on, but the child
// kept the CPUs of its parent's cpuset, not those of its group. Mended in 6.4 and in what is maintained
// of 5.15 and 6.1; 5.10.223 still does so. Drop when we require 5.15.
func (f Facts) intoCgroup() bool { return f.AtLeast(5, 15) }

// AtLeast tells whether the kernel's version is major.minor or newer.
func (f Facts) AtLeast(major, minor int) bool {
	return f.Major > major || f.Major == major && f.Minor >= minor
}

// Limit returns f as a kernel of version major.minor would have it, for tests
// of the older ways on a newer kernel.
func (f Facts) Limit(major, minor int) Facts {
	f.Major, f.Minor = major, minor
	f.Clone3 = f.Clone3 && f.AtLeast(5, 3)
	f.ClearSighand = f.ClearSighand && f.AtLeast(5, 5)
	f.IntoCgroup = f.IntoCgroup && f.intoCgroup()
	f.Pidfd = f.Pidfd && f.AtLeast(5, 3)
	f.PidfdSetns = f.PidfdSetns && f.AtLeast(5, 8)
	f.MountAPI = f.MountAPI && f.AtLeast(5, 2)
	f.Openat2 = f.Openat2 && f.AtLeast(5, 6)
	f.MountSetattr = f.MountSetattr && f.AtLeast(5, 12)
	f.CloseRange = f.CloseRange && f.AtLeast(5, 11)
	f.CloneTree = f.CloneTree && f.AtLeast(6, 15)
	f.ExitInfo = f.ExitInfo && f.AtLeast(6, 15)
	f.TimeNS = f.TimeNS && f.AtLeast(5, 6)
	return f
}

// version reads "6.1.0-21-amd64" as 6, 1.
func version(release string) (major, minor int) {
	a, rest, _ := strings.Cut(release, ".")
	major, _ = strconv.Atoi(a)
	n := 0
	for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
		n++
	}
	minor, _ = strconv.Atoi(rest[:n])
	return major, minor
}

func there(nr, a, b uintptr) bool {
	_, _, err := unix.RawSyscall6(nr, a, b, 0, 0, 0, 0)
	return !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM)
}

// permitted returns the calling thread's permitted capabilities, capget(2).
func permitted() uint64 {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return 0
	}
	return uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted)
}

// inUserNS tells whether a uid_map (user_namespaces(7)) is not the initial one.
func inUserNS(uidMap string) bool {
	f := strings.Fields(uidMap)
	return len(f) != 3 || f[0] != "0" || f[1] != "0" || f[2] != "4294967295"
}

func exists(path string) bool { return unix.Access(path, unix.F_OK) == nil }

func first(path string) byte {
	if s := read(path); s != "" {
		return s[0]
	}
	return 0
}

func read(path string) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var b [256]byte
	n, _ := unix.Read(fd, b[:])
	return string(b[:max(n, 0)])
}

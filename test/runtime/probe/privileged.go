package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mknod PATH c|b|p MAJOR MINOR
func mknod(a []string) (string, error) {
	kinds := map[string]uint32{"c": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}
	major, _ := strconv.Atoi(a[2])
	minor, _ := strconv.Atoi(a[3])
	return "", unix.Mknod(a[0], kinds[a[1]]|0o600, int(unix.Mkdev(uint32(major), uint32(minor))))
}

// mount SOURCE TARGET TYPE DATA
func mount(a []string) (string, error) { return "", unix.Mount(a[0], a[1], a[2], 0, a[3]) }

// bind SOURCE TARGET
func bind(a []string) (string, error) {
	return "", unix.Mount(a[0], a[1], "", unix.MS_BIND|unix.MS_REC, "")
}

// remount TARGET ro|rw
func remount(a []string) (string, error) {
	flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND)
	if a[1] == "ro" {
		flags |= unix.MS_RDONLY
	}
	return "", unix.Mount("", a[0], "", flags, "")
}

func umount(a []string) (string, error) { return "", unix.Unmount(a[0], unix.MNT_DETACH) }

func ptrace(a []string) (string, error) {
	pid, err := strconv.Atoi(a[0])
	if err != nil {
		return "", err
	}
	if _, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0); e != 0 {
		return "", e
	}
	return "", nil
}

func namespaceFlags(list string) (int, error) {
	known := map[string]int{
		"cgroup": unix.CLONE_NEWCGROUP, "ipc": unix.CLONE_NEWIPC, "mnt": unix.CLONE_NEWNS, "net": unix.CLONE_NEWNET,
		"pid": unix.CLONE_NEWPID, "time": unix.CLONE_NEWTIME, "user": unix.CLONE_NEWUSER, "uts": unix.CLONE_NEWUTS,
	}
	flags := 0
	for _, n := range strings.Split(list, ",") {
		f, ok := known[n]
		if !ok {
			return 0, fmt.Errorf("no namespace %s", n)
		}
		flags |= f
	}
	return flags, nil
}

func unshare(a []string) (string, error) {
	flags, err := namespaceFlags(a[0])
	if err != nil {
		return "", err
	}
	return "", unix.Unshare(flags)
}

func setns(a []string) (string, error) {
	fd, err := unix.Open(a[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return "", unix.Setns(fd, 0)
}

func reboot(a []string) (string, error) {
	commands := map[string]uintptr{
		"restart": unix.LINUX_REBOOT_CMD_RESTART, "halt": unix.LINUX_REBOOT_CMD_HALT,
		"power-off": unix.LINUX_REBOOT_CMD_POWER_OFF,
	}
	c, ok := commands[a[0]]
	if !ok {
		return "", fmt.Errorf("no reboot command %s", a[0])
	}
	// Outside of a process namespace of its own this would end the machine.
	if exe, err := os.Readlink("/proc/1/exe"); unix.Getpid() != 1 || err != nil || exe != "/probe" {
		return "", fmt.Errorf("not the first process of a container")
	}
	_, _, e := unix.RawSyscall6(unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, c, 0, 0, 0)
	if e != 0 {
		return "", e
	}
	return "", nil
}

func sethostname(a []string) (string, error) { return "", unix.Sethostname([]byte(a[0])) }

// setuid changes all ids and reports whether root can be had back.
func setuid(a []string) (string, error) {
	id, err := strconv.Atoi(a[0])
	if err != nil {
		return "", err
	}
	_, _, e := unix.RawSyscall(unix.SYS_SETUID, uintptr(id), 0, 0)
	if e != 0 {
		return "", e
	}
	return strconv.Itoa(unix.Geteuid()), nil
}

// rawSyscall NAME|NUMBER [ARG...] prints the result.
func rawSyscall(a []string) (string, error) {
	known := map[string]uintptr{
		"getpid": unix.SYS_GETPID, "getuid": unix.SYS_GETUID, "personality": unix.SYS_PERSONALITY,
		"mkdirat": unix.SYS_MKDIRAT, "socket": unix.SYS_SOCKET, "setns": unix.SYS_SETNS, "unshare": unix.SYS_UNSHARE,
		"keyctl": unix.SYS_KEYCTL, "getppid": unix.SYS_GETPPID, "umask": unix.SYS_UMASK, "sethostname": unix.SYS_SETHOSTNAME,
		"getpriority": unix.SYS_GETPRIORITY, "dup3": unix.SYS_DUP3, "getsid": unix.SYS_GETSID,
		"setdomainname": unix.SYS_SETDOMAINNAME,
	}
	nr, ok := known[a[0]]
	if !ok {
		n, err := strconv.ParseUint(a[0], 0, 32)
		if err != nil {
			return "", fmt.Errorf("no system call %s", a[0])
		}
		nr = uintptr(n)
	}
	var args [6]uintptr
	for i, s := range a[1:] {
		n, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			return "", err
		}
		args[i] = uintptr(n)
	}
	r, _, e := unix.RawSyscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5])
	if e != 0 {
		return "", fmt.Errorf("errno %d: %w", int(e), e)
	}
	return strconv.Itoa(int(r)), nil
}

func clock([]string) (string, error) {
	var m, b unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &m); err != nil {
		return "", err
	}
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &b)
	return fmt.Sprintf("%d %d", m.Sec, b.Sec), err
}

func listen(a []string) (string, error) {
	l, err := net.Listen("tcp", a[0])
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func persona([]string) (string, error) {
	p, _, e := unix.RawSyscall(unix.SYS_PERSONALITY, 0xffffffff, 0, 0)
	if e != 0 {
		return "", e
	}
	return fmt.Sprintf("%#x", p), nil
}

// ptsname opens a new pseudo-terminal the way a program in the container would.
func ptsname([]string) (string, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return "", err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return "", err
	}
	name := "/dev/pts/" + strconv.Itoa(n)
	pts, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return name, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return name, unix.Close(pts)
}

// sysv make|find KEY: a System V message queue, visible in one IPC namespace only.
func sysv(a []string) (string, error) {
	key, _ := strconv.Atoi(a[1])
	flags := uintptr(0)
	if a[0] == "make" {
		flags = unix.IPC_CREAT | 0o600
	}
	id, _, e := unix.RawSyscall(unix.SYS_MSGGET, uintptr(key), flags, 0)
	if e != 0 {
		return "", e
	}
	return strconv.Itoa(int(id)), nil
}

func cpus([]string) (string, error) { return strconv.Itoa(runtime.NumCPU()), nil }

// env NAME prints the variable as a libc program would see it: the first of that name.
func env(a []string) (string, error) {
	v, ok := os.LookupEnv(a[0])
	if !ok {
		return "", fmt.Errorf("%s is not set", a[0])
	}
	return v, nil
}

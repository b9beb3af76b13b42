package runtimecli

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pidfdInfo is struct pidfd_info of linux/pidfd.h in its first size, 64 bytes.
type pidfdInfo struct {
	mask, cgroupid                                                    uint64
	pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid uint32
	exitCode                                                          int32
}

const (
	pidfdGetInfo  = 0xc040ff0b // _IOWR(0xff, 11, struct pidfd_info)
	pidfdInfoExit = 1 << 3     // since Linux 6.15: kept after the process was reaped, for those who hold a pidfd
)

// awaitExit waits for the end of a process that need not be our child. known is
// false where the kernel does not tell others than the parent.
func awaitExit(pidfd, pid int) (status int, known bool, err error) {
	// Readable: it has ended. It may not be reaped yet, and then /proc tells its
	// status, where POLLHUP might never come from a parent that does not care.
	if err := pollFor(pidfd, unix.POLLIN, -1); err != nil {
		return 0, false, err
	}
	if status, known = zombieStatus(pid); known {
		return status, true, nil
	}
	// The parent was quicker, or we may not look: then it tells once it is reaped.
	const patience = 1000 // milliseconds
	if err := pollFor(pidfd, 0, patience); err != nil {
		return 0, false, err
	}
	info := pidfdInfo{mask: pidfdInfoExit}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	if errno != 0 || info.mask&pidfdInfoExit == 0 {
		return 0, false, nil // an older kernel
	}
	return fromWaitStatus(unix.WaitStatus(info.exitCode)), true, nil
}

// pollFor waits for the events, or POLLHUP, at most timeout milliseconds; -1 is for ever.
func pollFor(fd int, events int16, timeout int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, timeout)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// zombieStatus reads the exit code of a process that has ended and was not reaped:
// field 52 of /proc/PID/stat, for those who may trace it; others find 0 there (proc(5)).
func zombieStatus(pid int) (status int, known bool) {
	if os.Geteuid() != 0 {
		return 0, false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The name in field 2 may hold anything, even ") Z": the last ")" ends it.
	after := string(text[strings.LastIndexByte(string(text), ')')+1:])
	fields := strings.Fields(after) // fields[0] is field 3, the state
	if len(fields) < 50 || fields[0] != "Z" {
		return 0, false
	}
	code, err := strconv.Atoi(fields[49])
	if err != nil {
		return 0, false
	}
	return fromWaitStatus(unix.WaitStatus(code)), true
}

// fromWaitStatus is the status a shell would show (wait(2)).
func fromWaitStatus(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

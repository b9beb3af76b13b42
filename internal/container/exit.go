package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/host"
)

// Process is a process that was started in a container and is a child of the
// caller. Signal and Wait may be called at the same time.
//
// Made with Parent, it is a child of the caller's parent, and Wait fails with
// ECHILD: the parent has to say when it has reaped the process, and from then
// on, where there are no pidfds (Linux < 5.3), nobody may Signal it.
type Process struct {
	Pid int

	mu    sync.Mutex // held while it is reaped or signalled: a pid must not be another's by then
	pidfd int        // -1 where the kernel has none
	done  bool
	leave string // file that its wait status goes to; "": none
}

// Wait waits for the process's end and returns its exit code, or 128 plus the
// number of the signal that killed it.
func (p *Process) Wait() (status int, err error) {
	if err := again(func() error {
		return unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	}); err != nil {
		return -1, fmt.Errorf("wait for process %d: %w", p.Pid, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var ws unix.WaitStatus
	if err := again(func() error {
		_, err := unix.Wait4(p.Pid, &ws, 0, nil)
		return err
	}); err != nil {
		return -1, fmt.Errorf("wait for process %d: %w", p.Pid, err)
	}
	p.done = true
	p.release()
	if p.leave != "" {
		// For a later look. The caller, who knows it, loses nothing without.
		_ = leaveStatus(p.leave, ws)
	}
	return exitCode(ws), nil
}

// again repeats a system call that a signal interrupts.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// Signal sends sig to the process. os.ErrProcessDone: it was reaped.
func (p *Process) Signal(sig unix.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return os.ErrProcessDone
	}
	if p.pidfd >= 0 {
		if err := unix.PidfdSendSignal(p.pidfd, sig, nil, 0); !errors.Is(err, unix.ENOSYS) {
			return err
		}
	}
	return unix.Kill(p.Pid, sig)
}

// Release gives up waiting for the process.
func (p *Process) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
}

func (p *Process) release() {
	if p.pidfd >= 0 {
		_ = unix.Close(p.pidfd)
		p.pidfd = -1
	}
}

// keepExitStatus pins the process's pidfd by a bind mount in the container's
// directory. From Linux 6.15 on it tells the exit code even after whoever was
// the parent has reaped the process, so no process of ours needs to wait.
// Elsewhere a monitor does, see monitor.go.
func (c *Container) keepExitStatus(pid int, f host.Facts) {
	if !mountsPidfd(f) {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	path := filepath.Join(c.dir, pidfdFile)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return
	}
	// open_tree(2) takes a pidfd where mount(2) does not.
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err == nil {
		err = unix.MoveMount(tree, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH)
		_ = unix.Close(tree)
	}
	if err != nil {
		_ = os.Remove(path)
	}
}

// exitStatus reads the exit status of the stopped first process, if it is known.
func (c *Container) exitStatus() *int {
	fd, err := unix.Open(filepath.Join(c.dir, pidfdFile), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		if code, known := ExitStatus(fd); known {
			return &code
		}
	}
	if code := c.monitoredStatus(); code != nil {
		return code
	}
	if p, err := c.process(); err == nil {
		return p.zombieStatus()
	}
	return nil
}

// ExitStatus reads from a pidfd how its process ended: the exit code, or 128
// plus the number of the signal that killed it. It is not known before the
// parent has reaped the process, and on Linux < 6.15.
func ExitStatus(pidfd int) (status int, known bool) {
	// struct pidfd_info of linux/pidfd.h up to exit_code.
	var info struct {
		mask, cgroupid                                   uint64
		pid, tgid, ppid                                  uint32
		ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid uint32
		exitCode                                         int32
	}
	const maskExit = 1 << 3
	info.mask = maskExit
	request := uintptr(3)<<30 | unsafe.Sizeof(info)<<16 | 0xff<<8 | 11 // PIDFD_GET_INFO
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), request, uintptr(unsafe.Pointer(&info)))
	if errno != 0 || info.mask&maskExit == 0 {
		return 0, false
	}
	return exitCode(unix.WaitStatus(info.exitCode)), true
}

// zombieStatus reads the exit status of a process that has ended and was not
// reaped yet. /proc shows the code to those who may trace the process, and 0 to
// all others: proc_pid_stat(5), field 52.
func (p process) zombieStatus() *int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/stat")
	if err != nil || os.Geteuid() != 0 {
		return nil
	}
	now, state, err := parseStat(string(b))
	if err != nil || now.start != p.start || state != 'Z' {
		return nil
	}
	fields := strings.Fields(string(b))
	code, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil {
		return nil
	}
	status := exitCode(unix.WaitStatus(code))
	return &status
}

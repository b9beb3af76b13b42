package container

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/host"
	"tare.dev/tare/internal/program"
	"tare.dev/tare/internal/sysprog"
)

// Where no pidfd keeps the exit status of a container that was left alone, the
// smallest possible process does: the parent of its first process, without Go
// and with less than a page of its own (program.Monitor). It holds a lock on
// exitFile, which tells whether it is there, and leaves the status in it.

// exitFile holds the wait status (wait4(2), four bytes); notKnown until then.
const exitFile = "exit"

var notKnown = binary.NativeEndian.AppendUint32(nil, ^uint32(0))

// monitorPatience is how long a monitor may take once the process has ended.
// It takes microseconds, unless somebody has stopped it.
const monitorPatience = time.Second

// mountsPidfd tells whether keepExitStatus can do it.
func mountsPidfd(f host.Facts) bool { return f.ExitInfo && f.Caps&(1<<unix.CAP_SYS_ADMIN) != 0 }

// needsMonitor tells whether a monitor is to keep the exit status.
func (k *creation) needsMonitor() bool {
	return (k.in.Wait || k.o.Detach) && !k.o.Adopted && !k.o.Parent && !mountsPidfd(k.caller)
}

// prepareMonitor gathers what the program of a start must know of the monitor.
func (k *creation) prepareMonitor() (err error) {
	m := k.in.Monitor
	if m == nil {
		return nil
	}
	if k.monitor == nil {
		if err := k.loadMonitor(); err != nil {
			return err
		}
	}
	if !k.in.Facts.CloseRange {
		m.Close, err = openDescriptors(m.FD)
	}
	return err
}

// loadMonitor puts the monitor's own list into memory, and opens what it leaves
// the status in.
func (k *creation) loadMonitor() error {
	path := filepath.Join(k.c.dir, exitFile)
	// Written now, so that a full file system cannot keep the status out.
	if err := os.WriteFile(path, notKnown, 0o600); err != nil {
		return fmt.Errorf("prepare the exit status: %w", err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	k.pipes.add(fd)
	if k.monitor, err = sysprog.LoadApart(program.CompileMonitor(fd)); err != nil {
		return err
	}
	m := k.in.Monitor
	m.FD, m.Entry = fd, k.monitor.Entry()
	m.Spans, m.Tails = sysprog.Rest()
	return nil
}

// awaitProcess returns when the monitor has made the process, or has failed to.
func (k *creation) awaitProcess(mem *sysprog.Memory) error {
	k.pipes.close(k.in.GateFD)
	err := again(func() error {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(k.in.GateParentFD), Events: unix.POLLIN}}, -1)
		return err
	})
	if err != nil {
		return fmt.Errorf("wait for the process: %w", err)
	}
	if mem.Word(k.prog.Pid) != 0 {
		return nil
	}
	if err := mem.Failure(); err != nil {
		return err
	}
	return errors.New("start the process: its monitor was killed")
}

// endMonitored takes back the process that a monitor has made, and the monitor.
func (k *creation) endMonitored(monitor int) {
	k.pipes.close(k.in.GateParentFD) // where it waits, it ends then
	if p, err := k.c.process(); err == nil {
		_ = p.signal(unix.SIGKILL)
	}
	k.c.endMonitor()
	if monitor > 0 {
		kill(monitor) // reaps it; it is our child still
	}
	_ = os.WriteFile(filepath.Join(k.c.dir, exitFile), notKnown, 0o600) // for another try
}

// monitorPid is the process id of the container's monitor: 0 when there is none,
// negative when it is in a pid namespace that we do not see.
func (c *Container) monitorPid() int {
	fd, err := unix.Open(filepath.Join(c.dir, exitFile), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if unix.FcntlFlock(uintptr(fd), unix.F_GETLK, &l) != nil || l.Type == unix.F_UNLCK {
		return 0
	}
	if l.Pid == 0 {
		return -1
	}
	return int(l.Pid)
}

// awaitMonitor waits until there is no monitor any more, and tells whether.
func (c *Container) awaitMonitor() bool {
	end := time.Now().Add(monitorPatience)
	for pause := 50 * time.Microsecond; c.monitorPid() != 0; pause = min(2*pause, 20*time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}

// endMonitor waits for the monitor of a process that has ended, and kills one
// that does not end by itself.
func (c *Container) endMonitor() {
	if c.awaitMonitor() {
		return
	}
	pid := c.monitorPid()
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case err == nil:
		defer unix.Close(fd)
		if c.monitorPid() == pid { // still, so that the number is not another's by now
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
	case errors.Is(err, unix.ENOSYS) && pid > 0:
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	c.awaitMonitor()
}

// monitoredStatus reads what a monitor has left; nil: nothing, or there was none.
func (c *Container) monitoredStatus() *int {
	path := filepath.Join(c.dir, exitFile)
	b, err := os.ReadFile(path)
	if err == nil && string(b) == string(notKnown) && c.awaitMonitor() {
		b, err = os.ReadFile(path)
	}
	if err != nil || len(b) != len(notKnown) || string(b) == string(notKnown) {
		return nil
	}
	status := exitCode(unix.WaitStatus(binary.NativeEndian.Uint32(b)))
	return &status
}

// leaveStatus leaves a wait status where a monitor would.
func leaveStatus(path string, ws unix.WaitStatus) error {
	return os.WriteFile(path, binary.NativeEndian.AppendUint32(nil, uint32(ws)), 0o600)
}

package container

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// child starts a shell that ends as the script says once end is called.
func child(t *testing.T, script string) (cmd *exec.Cmd, end func()) {
	t.Helper()
	cmd = exec.Command("sh", "-c", "read x; "+script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, func() { in.Close() }
}

// awaitEnd waits until the process has ended, and leaves it to be reaped.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	if err := again(func() error { return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) }); err != nil {
		t.Fatal(err)
	}
}

var endings = map[string]int{"exit 0": 0, "exit 42": 42, "kill -9 $$": 137}

func TestZombieTellsItsStatus(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may see the exit code of others")
	}
	for script, want := range endings {
		cmd, end := child(t, script)
		b, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/stat")
		if err != nil {
			t.Fatal(err)
		}
		p, _, err := parseStat(string(b))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.zombieStatus(); got != nil {
			t.Errorf("%s: status %d while it runs", script, *got)
		}
		end()
		awaitEnd(t, p.pid)
		if got := p.zombieStatus(); got == nil || *got != want {
			t.Errorf("%s: status %v, want %d", script, got, want)
		}
		other := process{p.pid, p.start + 1}
		if got := other.zombieStatus(); got != nil {
			t.Errorf("%s: took another process of the same number for it", script)
		}
		_ = cmd.Wait()
		if got := p.zombieStatus(); got != nil {
			t.Errorf("%s: status %d after it was reaped", script, *got)
		}
	}
}

func TestPidfdTellsTheStatusOfAReapedProcess(t *testing.T) {
	for script, want := range endings {
		cmd, end := child(t, script)
		fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
		if err != nil {
			t.Skipf("pidfd_open: %v", err)
		}
		end()
		awaitEnd(t, cmd.Process.Pid)
		if _, known := ExitStatus(fd); known {
			t.Errorf("%s: known before it was reaped", script)
		}
		_ = cmd.Wait()
		status, known := ExitStatus(fd)
		if !known {
			t.Skip("Linux < 6.15 does not tell")
		}
		if status != want {
			t.Errorf("%s: status %d, want %d", script, status, want)
		}
		unix.Close(fd)
	}
}

// A signal that comes while the process is being reaped must not reach another.
func TestSignalAndWaitAtTheSameTime(t *testing.T) {
	for _, withPidfd := range []bool{true, false} {
		cmd, end := child(t, "exit 5")
		p := &Process{Pid: cmd.Process.Pid, pidfd: -1}
		if withPidfd {
			fd, err := unix.PidfdOpen(p.Pid, 0)
			if err != nil {
				t.Skipf("pidfd_open: %v", err)
			}
			p.pidfd = fd
		}
		var group sync.WaitGroup
		group.Go(func() {
			for p.Signal(unix.SIGCONT) == nil {
			}
		})
		end()
		if status, err := p.Wait(); err != nil || status != 5 {
			t.Errorf("Wait = %d, %v", status, err)
		}
		group.Wait()
		if err := p.Signal(unix.SIGCONT); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("Signal after Wait = %v", err)
		}
		if _, err := p.Wait(); !errors.Is(err, unix.ECHILD) {
			t.Errorf("second Wait = %v", err)
		}
	}
}

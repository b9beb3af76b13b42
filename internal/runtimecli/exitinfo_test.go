package runtimecli

import (
	"errors"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startSleeper starts a child that ends as the shell script says once its input is closed.
func startSleeper(t *testing.T, script string) (*exec.Cmd, func()) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "read x; "+script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, func() { in.Close() }
}

func TestAwaitExit(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 42": 42, "kill -9 $$": 137} {
		for _, reaped := range []bool{false, true} {
			cmd, end := startSleeper(t, script)
			pidfd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
			if err != nil {
				t.Skipf("pidfd_open: %v", err) // Linux < 5.3
			}
			end()
			if reaped {
				var exit *exec.ExitError
				if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
					t.Fatal(err)
				}
			}
			status, known, err := awaitExit(pidfd, cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			if !known {
				t.Logf("%s, reaped %v: this kernel or user is not told", script, reaped)
			} else if status != want {
				t.Errorf("%s, reaped %v: status %d, want %d", script, reaped, status, want)
			}
			if !reaped {
				_ = cmd.Wait() // reaps; its status is what was tested above
			}
			unix.Close(pidfd)
		}
	}
}

func TestAwaitExitWaits(t *testing.T) {
	cmd, end := startSleeper(t, "exit 3")
	pidfd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Skipf("pidfd_open: %v", err)
	}
	defer unix.Close(pidfd)
	done := make(chan int)
	go func() {
		status, _, _ := awaitExit(pidfd, cmd.Process.Pid)
		done <- status
	}()
	select {
	case <-done:
		t.Error("did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	end()
	_ = cmd.Wait()
	<-done
}

func TestFromWaitStatus(t *testing.T) {
	for ws, want := range map[unix.WaitStatus]int{0: 0, 42 << 8: 42, 9: 137, 0x80 | 11: 139} {
		if got := fromWaitStatus(ws); got != want {
			t.Errorf("fromWaitStatus(%#x) = %d, want %d", ws, got, want)
		}
	}
}

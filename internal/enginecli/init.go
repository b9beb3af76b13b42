package enginecli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// Init is the first process of a container with --init: it starts the command of its arguments, passes
// signals on to it, reaps orphans, and ends with its status.
func Init(args []string) int {
	debug.SetGCPercent(-1)
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "docker-init: no command")
		return 127
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	path, err := exec.LookPath(args[0])
	if err != nil {
		fmt.Fprintf(os.Stderr, "docker-init: exec: %q: executable file not found in $PATH\n", args[0])
		return 127
	}
	p, err := os.StartProcess(path, args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		fmt.Fprintf(os.Stderr, "docker-init: %v\n", err)
		if errors.Is(err, unix.ENOENT) || strings.Contains(err.Error(), "not found") {
			return 127
		}
		return 126
	}
	for s := range signals {
		if s == unix.SIGCHLD {
			if status, ended := reap(p.Pid); ended {
				return status
			}
			continue
		}
		if n, ok := s.(unix.Signal); ok && n != unix.SIGURG { // the Go runtime's own
			_ = unix.Kill(p.Pid, n) // it may be ending
		}
	}
	return 0
}

// reap takes all that has ended, and tells whether the command is among them.
func reap(pid int) (status int, ended bool) {
	for {
		var ws unix.WaitStatus
		n, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || n <= 0:
			return status, ended
		case n != pid:
			continue
		}
		ended = true
		if status = ws.ExitStatus(); ws.Signaled() {
			status = 128 + int(ws.Signal())
		}
	}
}

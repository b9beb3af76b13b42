package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cost is what one command took.
type cost struct {
	wall time.Duration
	cpu  time.Duration // user and system, descendants included
}

func (c *cost) add(d cost) { c.wall += d.wall; c.cpu += d.cpu }

// spawner runs commands with nothing on their standard streams and accounts
// for them.
type spawner struct {
	null   *os.File
	stderr *os.File // of the last command, for messages
}

func newSpawner(stderr string) (*spawner, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become a subreaper: %w", err)
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	f, err := os.Create(stderr) // truncated before each command
	if err != nil {
		null.Close()
		return nil, err
	}
	return &spawner{null: null, stderr: f}, nil
}

// run runs argv to its end and returns an error if its exit status is not
// want. It forks from the calling thread, whose scheduling class the command
// inherits.
func (s *spawner) run(want int, argv ...string) (cost, error) {
	if err := s.stderr.Truncate(0); err != nil {
		return cost{}, err
	}
	if _, err := s.stderr.Seek(0, 0); err != nil {
		return cost{}, err
	}
	attr := syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{s.null.Fd(), s.null.Fd(), s.stderr.Fd()},
	}
	begin := time.Now()
	pid, err := syscall.ForkExec(argv[0], argv, &attr)
	if err != nil {
		return cost{}, fmt.Errorf("start %s: %w", argv[0], err)
	}
	status, cpu, err := reap(pid)
	c := cost{wall: time.Since(begin), cpu: cpu}
	if err != nil {
		return c, err
	}
	if got := exitCode(status); got != want {
		return c, fmt.Errorf("%s: exit status %d, want %d: %s", strings.Join(argv, " "), got, want, s.message())
	}
	return c, nil
}

// message is what the last command wrote to its standard error.
func (s *spawner) message() string {
	text := make([]byte, 1000)
	n, err := s.stderr.ReadAt(text, 0)
	if n == 0 {
		return fmt.Sprintf("it said nothing (%v)", err)
	}
	return strings.TrimSpace(string(text[:n]))
}

// reap waits for the child pid.
func reap(pid int) (syscall.WaitStatus, time.Duration, error) {
	var (
		status syscall.WaitStatus
		use    syscall.Rusage
	)
	for {
		_, err := syscall.Wait4(pid, &status, 0, &use)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 0, 0, fmt.Errorf("wait for process %d: %w", pid, err)
		}
		return status, total(&use), nil
	}
}

// sweep reaps the orphans that have ended, and returns their time.
func sweep() time.Duration {
	var sum time.Duration
	for {
		var use syscall.Rusage
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, &use)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return sum
		}
		sum += total(&use)
	}
}

func total(u *syscall.Rusage) time.Duration {
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func exitCode(w syscall.WaitStatus) int {
	if w.Signaled() {
		return 128 + int(w.Signal())
	}
	return w.ExitStatus()
}

// children lists the processes whose parent is this process.
func children() ([]int, error) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	var list []int
	for _, t := range tasks {
		text, err := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		if err != nil {
			if os.IsNotExist(err) {
				continue // the thread has ended
			}
			return nil, err
		}
		for _, f := range strings.Fields(string(text)) {
			var pid int
			if _, err := fmt.Sscan(f, &pid); err != nil {
				return nil, fmt.Errorf("children of this process: %w", err)
			}
			list = append(list, pid)
		}
	}
	return list, nil
}

package runtimecli

import (
	"errors"
	"fmt"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/container"
)

const waitLong = `Wait until a container has stopped. The exit status is that of its first process:
what it exited with, or 128 and the number of the signal that killed it. It can be
asked for again until the container is deleted.

It is an error when the status is not known: before Linux 6.15, and for users other
than root, of a container that was created with --pid-file or --pidfd-socket, whose
maker waits for the process itself, or whose monitor was killed.`

func waitCommand(s *session) cli.Command {
	return cli.Command{
		Name: "wait", Args: "ID", MinArgs: 1, MaxArgs: 1,
		Short: "wait for the end of a container and exit with its status",
		Long:  waitLong,
		Run: func(c *cli.Call) error {
			h, err := s.load(c)
			if err != nil {
				return err
			}
			status, err := waitFor(h)
			if err != nil {
				return err
			}
			return exitWith(status)
		},
	}
}

func waitFor(h handle) (int, error) {
	st, err := h.State()
	if err != nil {
		return 0, err
	}
	if st.Status != specs.StateStopped {
		return waitForEnd(h, st.Pid)
	}
	return exitStatus(h.ID(), st)
}

// waitForEnd waits for the process with the pid, which h said is its first one.
func waitForEnd(h handle, pid int) (int, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ENOSYS) {
		return waitByLooking(h)
	}
	if err == nil {
		defer unix.Close(pidfd)
	} else if !errors.Is(err, unix.ESRCH) {
		return 0, fmt.Errorf("wait for %s: pidfd_open %d: %w", h.ID(), pid, err)
	}
	// The pid may have become another's between the two looks; now that we hold
	// it, it cannot any more, so a second look tells.
	st, serr := h.State()
	if serr != nil {
		return 0, serr
	}
	if err != nil || st.Status == specs.StateStopped {
		return exitStatus(h.ID(), st)
	}
	// Readable: it has ended. Unless its parent was quicker, it is there to look at.
	if err := pollFor(pidfd, unix.POLLIN, -1); err != nil {
		return 0, fmt.Errorf("wait for %s: %w", h.ID(), err)
	}
	if st, err = h.State(); err != nil {
		return 0, err
	}
	if st.ExitStatus != nil {
		return *st.ExitStatus, nil
	}
	// A hangup: it is reaped, and newer kernels tell now. A parent that does not
	// care may never reap it.
	if err := pollFor(pidfd, 0, int(patience.Milliseconds())); err != nil {
		return 0, fmt.Errorf("wait for %s: %w", h.ID(), err)
	}
	if status, known := container.ExitStatus(pidfd); known {
		return status, nil
	}
	return exitStatus(h.ID(), st)
}

// waitByLooking is for Linux < 5.3, which has no pidfds.
func waitByLooking(h handle) (int, error) {
	for {
		st, err := h.State()
		if err != nil {
			return 0, err
		}
		if st.Status == specs.StateStopped {
			return exitStatus(h.ID(), st)
		}
		time.Sleep(lookAgain)
	}
}

// lookAgain is how long waitByLooking looks away.
const lookAgain = 50 * time.Millisecond

// patience is how long a parent may take to reap a process.
const patience = time.Second

func exitStatus(id string, st container.State) (int, error) {
	if st.ExitStatus == nil {
		return 0, fmt.Errorf("wait for %s: its exit status is not known", id)
	}
	return *st.ExitStatus, nil
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

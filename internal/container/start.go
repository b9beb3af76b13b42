package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/program"
	"tare.dev/tare/internal/sysprog"
)

// Start lets the process of a created container execute its program, and
// returns when it has.
func (c *Container) Start() error {
	if err := c.start(); err != nil {
		return fmt.Errorf("start %s: %w", c.rec.ID, err)
	}
	return nil
}

func (c *Container) start() error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	status, p := c.status()
	if status != specs.StateCreated {
		if b, err := os.ReadFile(filepath.Join(c.dir, program.FailureFile)); err == nil && len(b) == 2*sysprog.WordSize {
			return c.failure(b) // a stored start has just left it
		}
		return fmt.Errorf("cannot start a container in the %s state", status)
	}
	result, err := unix.Open(filepath.Join(c.dir, program.StartFifo), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", program.StartFifo, err)
	}
	defer unix.Close(result)
	fifo := filepath.Join(c.dir, program.ExecFifo)
	fd, err := unix.Open(fifo, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil { // ENXIO: nobody waits there any more
		return fmt.Errorf("open %s: %w", program.ExecFifo, errors.Join(ErrNotRunning, err))
	}
	_, err = unix.Write(fd, []byte{0})
	_ = unix.Close(fd)
	if err != nil {
		return fmt.Errorf("write %s: %w", program.ExecFifo, err)
	}
	if err := os.Remove(fifo); err != nil {
		return err
	}
	if err := c.startResult(result); err != nil {
		return err
	}
	spec, err := c.Spec()
	if err != nil {
		return err
	}
	c.storeStart()
	if err := c.runHooks("poststart", spec, specs.StateRunning, p.pid); err != nil {
		return errors.Join(err, c.stop(p)) // the specification wants it stopped then
	}
	return nil
}

// startResult reads what the process reports: nothing when the execve closes
// its end, or the failing op and errno.
func (c *Container) startResult(fd int) error {
	var b [2 * sysprog.WordSize]byte
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(poll, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for the process: %w", err)
		} else if err != nil {
			continue
		}
		n, err := unix.Read(fd, b[:])
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the process: %w", err)
		}
		if n < len(b) {
			return nil
		}
		return c.failure(b[:])
	}
}

// failure puts into words what a process that failed after start has written.
func (c *Container) failure(b []byte) error {
	op, errno := sysprog.ReadFailure(b)
	what := "start the process"
	if l := c.rec.Late; l != nil {
		if i := op - l.First; i >= 0 && i < len(l.Ops) && l.Ops[i] != "" {
			what = l.Ops[i]
		}
	}
	if errno == 0 {
		return errors.New(what)
	}
	return fmt.Errorf("%s: %w", what, errno)
}

// lock makes calls that change the container wait for each other.
func (c *Container) lock() (unlock func(), err error) {
	fd, err := unix.Open(c.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for {
		if err = unix.Flock(fd, unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("lock: %w", err)
	}
	if !c.is(fd) { // whoever had the lock has removed it
		_ = unix.Close(fd)
		return nil, ErrNotExist
	}
	return func() {
		_ = unix.Flock(fd, unix.LOCK_UN) // a child may have the descriptor still
		_ = unix.Close(fd)
	}, nil
}

// is tells whether the container's directory is still the one that fd is open on.
func (c *Container) is(fd int) bool {
	var ours, now unix.Stat_t
	return unix.Fstat(fd, &ours) == nil && unix.Stat(c.dir, &now) == nil && ours.Dev == now.Dev && ours.Ino == now.Ino
}

package container

import (
	"errors"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Signal sends sig to the container's first process, or, with all, to every
// process in its control group.
func (c *Container) Signal(sig unix.Signal, all bool) error {
	if err := c.signal(sig, all); err != nil {
		return fmt.Errorf("kill %s: %w", c.rec.ID, err)
	}
	return nil
}

func (c *Container) signal(sig unix.Signal, all bool) error {
	status, p := c.status()
	if all {
		err := c.rec.Cgroup.Signal(sig)
		if status == specs.StateStopped && errors.Is(err, unix.ESRCH) {
			return nil
		}
		return err
	}
	if status == specs.StateStopped || status == specs.StateCreating {
		return ErrNotRunning
	}
	if err := p.signal(sig); err != nil {
		return err
	}
	if sig == unix.SIGKILL && status == StatePaused {
		return c.rec.Cgroup.Thaw() // a frozen process on v1 dies when it is thawed
	}
	return nil
}

// signal sends sig to the very process p, not to a later one of the same number.
func (p process) signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	switch {
	case errors.Is(err, unix.ENOSYS):
		fd = -1
	case errors.Is(err, unix.ESRCH):
		return ErrNotRunning
	case err != nil:
		return err
	default:
		defer unix.Close(fd)
	}
	if !p.alive() {
		return ErrNotRunning
	}
	if fd < 0 {
		err = unix.Kill(p.pid, sig)
	} else {
		err = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
	if errors.Is(err, unix.ESRCH) {
		return ErrNotRunning
	}
	return err
}

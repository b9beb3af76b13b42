package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// killTime is how long Signal waits for processes to be gone after SIGKILL where
// it has to look for new ones.
const killTime = 5 * time.Second

// Signal sends sig to all processes of the group and of those below it.
//
// SIGKILL leaves nobody behind, forking or frozen: cgroup.kill does it on v2
// since Linux 5.14; elsewhere the group is frozen while it is signalled, and
// afterwards thawed in any case, as a frozen v1 process does not die. A process
// may still be on its way out when Signal returns. With any other signal a
// frozen group stays frozen: a process takes the signal when it is thawed, or,
// on v2 when it does not handle it, dies of it at once.
func (g Group) Signal(sig unix.Signal) error {
	if len(g.Paths) == 0 {
		return fmt.Errorf("signal %d: %w", sig, ErrNoGroup)
	}
	if sig == unix.SIGKILL {
		if killed, err := g.kill(); killed || err != nil {
			return err
		}
	}
	was, err := g.Frozen()
	if err != nil {
		return err
	}
	// Without a freezer a process can fork away between the list and the signal:
	// SIGKILL then goes round until nobody is left.
	frozen := was
	if !was {
		switch err := g.Freeze(); {
		case err == nil:
			frozen = true
		case !errors.Is(err, ErrNoFreezer) && !errors.Is(err, unix.ETIMEDOUT):
			return err
		}
	}
	err = g.signalAll(sig)
	if frozen && (!was || sig == unix.SIGKILL) {
		err = errors.Join(err, g.Thaw())
	}
	if sig == unix.SIGKILL && !frozen && err == nil {
		return g.killAll()
	}
	return err
}

// kill uses cgroup.kill. It reports false where there is none.
func (g Group) kill() (bool, error) {
	dir := g.v2()
	if dir == "" {
		return false, nil
	}
	err := writeFile(filepath.Join(dir, "cgroup.kill"), "1")
	switch {
	case err == nil:
		return true, nil
	case gone(err) && !exists(dir):
		return true, nil // no group, no processes
	case gone(err), errors.Is(err, unix.EOPNOTSUPP): // before 5.14; a threaded group
		return false, nil
	}
	return false, fmt.Errorf("kill: %w", err)
}

// signalAll sends sig to everybody in the list as it is now.
func (g Group) signalAll(sig unix.Signal) error {
	pids, err := g.Pids()
	if err != nil {
		return err
	}
	var failed []error
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			failed = append(failed, fmt.Errorf("signal %d to process %d: %w", sig, pid, err))
		}
	}
	return errors.Join(failed...)
}

// killAll signals until the group is empty.
func (g Group) killAll() error {
	err := wait(killTime, func(int) (bool, error) {
		pids, err := g.Pids()
		if err != nil || len(pids) == 0 {
			return len(pids) == 0, err
		}
		return false, g.signalAll(unix.SIGKILL)
	})
	if err != nil {
		return fmt.Errorf("kill all processes: %w", err)
	}
	return nil
}

package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/program"
)

// Delete removes a stopped container: what is left of its processes, its
// control group and its directory; then runs its poststop hooks. With force it
// kills a container that is not stopped first.
func (c *Container) Delete(force bool) error {
	c.storeDelete()
	c.mu.Lock()
	c.dropKept()
	c.mu.Unlock()
	if err := c.delete(force); err != nil {
		return fmt.Errorf("delete %s: %w", c.rec.ID, err)
	}
	return nil
}

func (c *Container) delete(force bool) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	err = c.load() // anew: whoever made it may have had the lock
	unmade := errors.Is(err, unix.ENOENT)
	if err != nil && !unmade {
		return err
	}
	status, p := c.status()
	if status != specs.StateStopped {
		if !force {
			return fmt.Errorf("%w: it is %s", ErrNotStopped, status)
		}
		if err := c.stop(p); err != nil {
			return err
		}
	}
	spec, specErr := c.Spec()
	if unmade { // its maker was killed before it had done anything
		spec, specErr = &specs.Spec{}, nil
	}
	if err := c.remove(); err != nil {
		return err
	}
	c.forget()
	if specErr != nil {
		return specErr
	}
	if err := c.runPoststop(spec); err != nil && c.warn != nil {
		c.warn("%v", err)
	}
	return nil
}

// stop kills the container and waits until its first process is gone.
func (c *Container) stop(p process) error {
	if p.pid == 0 {
		return nil // never came so far
	}
	if err := p.signal(unix.SIGKILL); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	if frozen, err := c.rec.Cgroup.Frozen(); err == nil && frozen {
		if err := c.rec.Cgroup.Thaw(); err != nil {
			return err
		}
	}
	for wait := time.Millisecond; p.alive(); wait = min(2*wait, 100*time.Millisecond) {
		if fd, err := unix.PidfdOpen(p.pid, 0); err == nil {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1000)
			_ = unix.Close(fd)
			continue
		}
		time.Sleep(wait) // Linux < 5.3 has no pidfds
	}
	return nil
}

// remove takes away what the container leaves, in the reverse order of create.
func (c *Container) remove() error {
	if c.rec.Cgroup.Exists() {
		// Without a pid namespace processes may have outlived the first one.
		// ENOENT: some of the groups are gone already.
		if err := c.rec.Cgroup.Signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
			return err
		}
		if err := c.rec.Cgroup.Remove(); err != nil {
			return err
		}
	}
	return c.removeDir()
}

// removeDir removes the container's directory.
func (c *Container) removeDir() error {
	c.endMonitor()
	_ = unix.Unmount(filepath.Join(c.dir, pidfdFile), unix.MNT_DETACH)
	// state.json goes first: a directory without it is no container.
	if err := os.Remove(filepath.Join(c.dir, recordFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// By name, and not by reading the directory: that takes descriptors, which
	// a failed start may have run out of.
	for _, name := range []string{configFile, program.ProcessFile, program.ExecFifo, program.StartFifo, program.FailureFile, pidfdFile, exitFile, c.rec.Plain} {
		if name != "" {
			_ = os.Remove(filepath.Join(c.dir, name))
		}
	}
	if err := os.Remove(c.dir); err == nil || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return os.RemoveAll(c.dir) // with all that it may hold beside that
}

package container

import (
	"context"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/internal/cgroup"
)

// alive fails unless the container has a process.
func (c *Container) alive(verb string) error {
	if s, _ := c.status(); s == specs.StateStopped || s == specs.StateCreating {
		return fmt.Errorf("%s %s: %w", verb, c.rec.ID, ErrNotRunning)
	}
	return nil
}

func (c *Container) wrap(verb string, err error) error {
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, c.rec.ID, err)
	}
	return nil
}

// Pause freezes all processes of the container.
func (c *Container) Pause() error {
	if s, _ := c.status(); s != specs.StateRunning && s != specs.StateCreated {
		return fmt.Errorf("pause %s: %w: it is %s", c.rec.ID, ErrNotRunning, s)
	}
	return c.wrap("pause", c.rec.Cgroup.Freeze())
}

// Resume thaws a paused container.
func (c *Container) Resume() error {
	if s, _ := c.status(); s != StatePaused {
		return fmt.Errorf("resume %s: container is not paused: it is %s", c.rec.ID, s)
	}
	return c.wrap("resume", c.rec.Cgroup.Thaw())
}

// Update changes the container's limits.
func (c *Container) Update(r *specs.LinuxResources) error {
	if err := c.alive("update"); err != nil {
		return err
	}
	return c.wrap("update", c.rec.Cgroup.Update(r))
}

// Stats reads what the container's control group has counted.
func (c *Container) Stats() (*cgroup.Stats, error) {
	if err := c.alive("stats"); err != nil {
		return nil, err
	}
	s, err := c.rec.Cgroup.Stats()
	return s, c.wrap("stats", err)
}

// Pids lists the container's processes by the caller's numbers.
func (c *Container) Pids() ([]int, error) {
	if err := c.alive("ps"); err != nil {
		return nil, err
	}
	pids, err := c.rec.Cgroup.Pids()
	return pids, c.wrap("ps", err)
}

// OOMEvents sends on the channel each time the kernel kills a process of the
// container for memory, until ctx ends.
func (c *Container) OOMEvents(ctx context.Context) (<-chan struct{}, error) {
	ch, err := c.rec.Cgroup.OOM(ctx)
	return ch, c.wrap("events", err)
}

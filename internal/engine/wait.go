package engine

import (
	"context"
	"slices"

	"github.com/moby/moby/api/types/container"
)

// A waiter waits for the end of a container, or for its removal.
type waiter struct {
	condition container.WaitCondition
	done      chan Ending // of one
}

// Ending is how a container ended.
type Ending struct {
	Code int
}

// Wait returns a channel of one Ending that comes when the condition is met. The wait has begun when it
// returns.
func (c *Container) Wait(ctx context.Context, condition container.WaitCondition) (<-chan Ending, error) {
	w := &waiter{condition, make(chan Ending, 1)}
	err := c.do(func() error {
		v := c.View()
		idle := !v.Running() && v.State != container.StateRestarting
		if condition != container.WaitConditionNextExit && condition != container.WaitConditionRemoved && idle {
			w.done <- Ending{v.ExitCode}
			return nil
		}
		c.waiters = append(c.waiters, w)
		return nil
	})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() {
		c.post(func() { c.waiters = slices.DeleteFunc(c.waiters, func(o *waiter) bool { return o == w }) })
	})
	return w.done, nil
}

// ended answers those who wait for an end of the process; with removed, all of them.
func (c *Container) ended(removed bool) {
	v := c.View()
	c.waiters = slices.DeleteFunc(c.waiters, func(w *waiter) bool {
		switch {
		case removed:
		case w.condition == container.WaitConditionRemoved:
			return false
		case w.condition == container.WaitConditionNextExit:
		case v.State == container.StateRestarting:
			return false
		}
		w.done <- Ending{v.ExitCode}
		return true
	})
}

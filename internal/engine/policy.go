package engine

import (
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
)

// Times between an end and the next start: doubled each time, from the start again after a good while.
const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = time.Minute
	backoffGood  = 10 * time.Second
)

// policy tells whether the container is to be started again after an end, and when.
func (c *Container) policy(code int, v View, at time.Time) (time.Duration, bool) {
	p := v.Host.RestartPolicy
	again := false
	switch p.Name {
	case container.RestartPolicyAlways, container.RestartPolicyUnlessStopped:
		again = !v.Asked
	case container.RestartPolicyOnFailure:
		again = !v.Asked && code != 0 && (p.MaximumRetryCount == 0 || v.Restarts < p.MaximumRetryCount)
	}
	if !again {
		return 0, false
	}
	if c.backoff == 0 || at.Sub(v.StartedAt) >= backoffGood {
		c.backoff = backoffFirst
	} else {
		c.backoff = min(2*c.backoff, backoffMost)
	}
	return c.backoff, true
}

// startAfter starts the container after a while, if it is still to be started then.
func (c *Container) startAfter(d time.Duration) {
	c.stopTimer()
	c.again = time.AfterFunc(d, func() {
		c.post(func() {
			v := c.View()
			if v.State != container.StateRestarting {
				return
			}
			if err := c.start(v.Restarts+1, "its restart policy is "+v.policyText()); err != nil {
				c.e.log.Warn("start a container again", "container", c.id, "error", err)
				c.failedAgain()
			}
		})
	})
}

// failedAgain is a start by the policy that failed.
func (c *Container) failedAgain() {
	v := c.View()
	wait, again := c.policy(max(v.ExitCode, 1), v, v.StartedAt)
	if !again {
		if err := c.giveUp(); err != nil {
			c.e.log.Error("give a container up", "container", c.id, "error", err)
		}
		return
	}
	if err := c.edit(func(m *Memory) { m.Restarts++ }); err != nil {
		c.e.log.Error("write a container's state", "container", c.id, "error", err)
	}
	c.startAfter(wait)
}

// giveUp ends the waiting for the next start.
func (c *Container) giveUp() error {
	c.stopTimer()
	if c.View().State != container.StateRestarting {
		return Errorf(NotModified, "container %s is not running", c.id)
	}
	err := c.change(evGiveUp, func(m *Memory) {
		m.because("is not started again", "a client stopped it, or its policy has no more tries")
	})
	c.ended(false)
	return err
}

func (c *Container) stopTimer() {
	if c.again != nil {
		c.again.Stop()
		c.again = nil
	}
}

// wanted keeps, where the policy asks for it, whether a person wants the container to run: the one
// stop that costs a write to flash, for a boot must know of it.
func (c *Container) wanted(runs bool) error {
	v := c.View()
	if v.Host.RestartPolicy.Name != container.RestartPolicyUnlessStopped || v.Stopped == !runs {
		return nil
	}
	r := *v.Record
	r.Stopped = !runs
	return c.setRecord(&r)
}

// unwanted is wanted(false) for a stop, which goes on when flash is full: then a boot starts the container again.
func (c *Container) unwanted() {
	err := c.wanted(false)
	if err == nil {
		return
	}
	c.e.log.Error("note that a container was stopped", "container", c.id, "error", err)
	_ = c.edit(func(m *Memory) {
		m.because("is started again by a boot", "that it was stopped could not be written: "+err.Error())
	})
}

// mayReboot tells whether the kernel lets the container ask for a restart of the machine, which in a
// PID namespace of its own ends its first process by SIGHUP: reboot(2).
func mayReboot(r *Record) bool {
	return r.Host.Privileged || slices.ContainsFunc(r.Host.CapAdd, func(c string) bool {
		return c == "ALL" || c == "SYS_BOOT" || c == "CAP_SYS_BOOT"
	})
}

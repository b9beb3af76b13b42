package engine

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	runtime "tare.dev/tare/internal/container"
)

// stopTimeout is how long a container has after its stop signal, unless it or the request says otherwise.
const stopTimeout = 10 * time.Second

// StopOptions of Stop and Restart.
type StopOptions struct {
	Signal  string // "" is the container's
	Timeout *int   // seconds; nil is the container's, less than 0 is for ever
	Why     string // for people; "" is that a client asked
}

// Stop asks the container to end, and kills it when it does not.
func (c *Container) Stop(ctx context.Context, o StopOptions) error {
	v := c.View()
	if v.State == container.StateRestarting {
		return c.do(func() error {
			c.unwanted()
			return c.giveUp()
		})
	}
	if !v.Running() {
		return Errorf(NotModified, "container %s is not running", c.id)
	}
	if err := c.end(ctx, o, true); err != nil {
		return err
	}
	c.publish("stop")
	return nil
}

// end ends the process. Once it is asked for it happens, whether or not who asked waits for it.
func (c *Container) end(ctx context.Context, o StopOptions, byRequest bool) error {
	v := c.View()
	sig := signalNumber(v.Config.StopSignal)
	if sig == 0 {
		sig = unix.SIGTERM
	}
	if o.Signal != "" {
		if sig = signalNumber(o.Signal); sig == 0 {
			return Errorf(Invalid, "Invalid signal: %s", o.Signal)
		}
	}
	grace := stopTimeout
	if t := v.Config.StopTimeout; t != nil {
		grace = time.Duration(*t) * time.Second
	}
	if o.Timeout != nil {
		grace = time.Duration(*o.Timeout) * time.Second
	}
	done, err := c.Wait(c.e.ctx, container.WaitConditionNextExit)
	if err != nil {
		return err
	}
	err = c.do(func() error {
		if byRequest {
			c.unwanted()
		}
		if v := c.View(); !v.Running() {
			return Errorf(NotModified, "container %s is not running", c.id)
		}
		c.asked(o.Why)
		return c.signal(sig)
	})
	if err != nil || c.ended1(ctx, done, grace) {
		return err
	}
	if err := c.do(func() error { return c.signal(unix.SIGKILL) }); err != nil && KindOf(err) != Conflict {
		return err
	}
	if !c.ended1(ctx, done, -1) {
		return ctx.Err()
	}
	return nil
}

// asked notes that the end is wanted, and why; "" is for a client. That memory is full must not be what a container cannot be stopped for.
func (c *Container) asked(why string) {
	if err := c.edit(func(m *Memory) { m.Asked, m.AskedWhy = true, why }); err != nil {
		c.e.log.Error("write a container's state", "container", c.id, "error", err)
	}
}

// ended1 waits for an end, for ever when the time is less than 0. A client that goes away in the meantime
// changes nothing: the stop goes on.
func (c *Container) ended1(ctx context.Context, done <-chan Ending, d time.Duration) bool {
	var late <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-done:
		return true
	case <-late:
		return false
	case <-c.e.ctx.Done():
		return false
	}
}

// signal sends a signal to the first process. Only own calls it.
func (c *Container) signal(sig unix.Signal) error {
	v := c.View()
	if !v.Running() {
		return Errorf(Conflict, "Container %s is not running", c.id)
	}
	r, err := c.e.runtime.Load(c.id)
	if err != nil {
		return err
	}
	c.publish("kill", "signal", strconv.Itoa(int(sig)))
	if err := r.Signal(sig, false); err != nil && !errors.Is(err, runtime.ErrNotRunning) {
		return err
	}
	return nil
}

// Kill sends a signal, by number or name; "" is SIGKILL. A container that it ends is not started again.
func (c *Container) Kill(name string) error {
	sig := unix.SIGKILL
	if name != "" {
		if sig = signalNumber(name); sig == 0 {
			return Errorf(Invalid, "Invalid signal: %s", name)
		}
	}
	ends := sig == unix.SIGKILL || sig == signalNumber(c.View().Config.StopSignal) || sig == unix.SIGTERM
	done, err := c.Wait(c.e.ctx, container.WaitConditionNextExit)
	if err != nil {
		return err
	}
	err = c.do(func() error {
		if v := c.View(); !v.Running() {
			return Errorf(Conflict, "cannot kill container: %s: container %s is not running", c.View().Name, c.id)
		}
		if ends {
			c.unwanted()
			c.asked("")
		}
		return c.signal(sig)
	})
	if err == nil && sig == unix.SIGKILL {
		c.ended1(c.e.ctx, done, stopTimeout)
	}
	return err
}

// Restart stops the container, if it runs, and starts it.
func (c *Container) Restart(ctx context.Context, o StopOptions) error {
	stays := func(yes bool) error { return c.do(func() error { c.stays = yes; return nil }) }
	if v := c.View(); v.Running() {
		if err := stays(true); err != nil {
			return err
		}
		if err := c.end(ctx, o, false); err != nil && KindOf(err) != NotModified {
			return errors.Join(err, stays(false))
		}
	}
	c.settle()
	err := c.do(func() error {
		c.stays = false
		v := c.View()
		if v.Running() {
			return nil // the policy was faster
		}
		c.backoff = 0
		err := errors.Join(c.wanted(true), c.start(0, cmp.Or(o.Why, "a client asked for a restart")))
		if err != nil && v.Host.AutoRemove {
			err = errors.Join(err, c.remove(true))
		}
		return err
	})
	if err == nil {
		c.publish("restart")
	}
	return err
}

// Pause freezes the container, Unpause lets it go on.
func (c *Container) Pause() error {
	return c.freeze("pause", evPause, (*runtime.Container).Pause)
}

// Unpause lets a paused container go on.
func (c *Container) Unpause() error {
	return c.freeze("unpause", evUnpause, (*runtime.Container).Resume)
}

func (c *Container) freeze(action string, on event, do func(*runtime.Container) error) error {
	return c.do(func() error {
		v := c.View()
		if _, ok := next(v.State, on); !ok {
			return Errorf(Conflict, "cannot %s container %s: %s", action, v.Name, notNow(c.id, on, v.State))
		}
		r, err := c.e.runtime.Load(c.id)
		if err != nil {
			return err
		}
		if err := do(r); err != nil {
			return err
		}
		if err := c.change(on, func(m *Memory) { m.because(action+"d", byClient) }); err != nil {
			return err
		}
		c.publish(action)
		return nil
	})
}

// notNow says in docker's words why a container can be neither paused nor unpaused.
func notNow(id string, on event, s State) string {
	switch {
	case s == container.StatePaused:
		return "Container " + id + " is already paused"
	case on == evUnpause:
		return "Container " + id + " is not paused"
	}
	return "Container " + id + " is not running"
}

// ends hands the end of the process of a run to own, and waits until it has taken note.
func (c *Container) ends(run int, status unix.WaitStatus, at time.Time) {
	_ = c.do(func() error { c.exited(run, status, at); return nil }) // one that is gone needs no note
}

// exited is the end of the process of a run. Only own calls it.
func (c *Container) exited(run int, status unix.WaitStatus, at time.Time) {
	v := c.View()
	if !v.Running() || v.Runs != run && v.Runs != 0 {
		return // it was seen already
	}
	code := status.ExitStatus()
	if status.Signaled() {
		code = 128 + int(status.Signal())
	}
	c.stopHealth()
	oom := c.cleanUp()
	reboot := status.Signaled() && status.Signal() == unix.SIGHUP && !v.Asked && mayReboot(v.Record)
	on := evExit
	wait, again := c.policy(code, v, at)
	if reboot {
		wait, again = 0, true
	}
	if again {
		on = evAgain
	}
	err := c.change(on, func(m *Memory) {
		m.Pid, m.Started, m.ExitCode, m.OOMKilled, m.Reset, m.FinishedAt = 0, 0, code, oom, reboot, at.UTC()
		m.because(endText(status), v.whyEnded(status, oom, reboot))
		if what, why := v.whyNext(again, wait, reboot, code); what != "" {
			m.because(what, why)
		}
	})
	if err != nil {
		c.e.log.Error("write a container's state", "container", c.id, "error", err)
	}
	c.protect()
	c.freeCPUs()
	if oom {
		c.publish("oom")
	}
	c.publish("die", "exitCode", strconv.Itoa(code), "execDuration", strconv.Itoa(int(at.Sub(v.StartedAt).Seconds())))
	c.finish(again, wait)
}

// finish lets who reads get the last output, and goes on from there. A reader that is slow, but reads,
// may take a while: meanwhile the container can be looked at, but not be started.
func (c *Container) finish(again bool, wait time.Duration) {
	settled := make(chan struct{})
	c.settling.Store(&settled)
	drained := c.drain()
	go func() {
		defer close(settled)
		<-drained
		_ = c.do(func() error { // one that is gone has nothing to finish
			c.keepStreams()
			c.ended(false)
			switch v := c.View(); {
			case again && v.State == container.StateRestarting:
				c.startAfter(wait)
			case v.State == container.StateExited && v.Host.AutoRemove && !c.stays:
				if err := c.remove(true); err != nil {
					c.e.log.Error("remove a container", "container", c.id, "error", err)
				}
			}
			return nil
		})
	}()
}

// settle waits until an end is finished with.
func (c *Container) settle() {
	if s := c.settling.Load(); s != nil {
		<-*s
	}
}

// cleanUp takes back what a run made, and tells whether the kernel killed it for memory.
func (c *Container) cleanUp() (oom bool) {
	c.e.execs.endOf(c)
	if r, err := c.runtime(); err == nil { // its Delete gives back what an exec has kept
		oom = outOfMemory(r)
		if err := r.Delete(true); err != nil {
			c.e.log.Error("delete a container's last run", "container", c.id, "error", err)
		}
	}
	c.e.nets.detach(c)
	return oom
}

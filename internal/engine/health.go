package engine

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
)

// Health is what the checks of a container have found.
type Health = container.Health

// Defaults of a check, docker's.
const (
	healthInterval = 30 * time.Second
	healthTimeout  = 30 * time.Second
	healthRetries  = 3
	healthStart    = 5 * time.Second // between checks while it starts
	healthOutput   = 4096            // bytes of a check's output that are kept
	healthLog      = 5               // checks that are kept
)

// prober checks a container again and again while a run of it goes on. Between checks it is a timer.
type prober struct {
	timer *time.Timer
	stop  context.CancelFunc
	ctx   context.Context
}

// check is the command of a check; nil: there is none.
func check(r *Record) []string {
	h := r.Config.Healthcheck
	if h == nil || len(h.Test) < 2 {
		return nil
	}
	switch h.Test[0] {
	case "CMD":
		return h.Test[1:]
	case "CMD-SHELL":
		shell := r.Config.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		return append(slices.Clone(shell), h.Test[1])
	}
	return nil
}

// startHealth begins the checks of a run. Only own calls it.
func (c *Container) startHealth() {
	v := c.View()
	if check(v.Record) == nil {
		return
	}
	c.stopHealth()
	if v.Health == nil {
		c.editHealth(func(h *Health) { *h = Health{Status: container.Starting} })
	}
	p := &prober{}
	p.ctx, p.stop = context.WithCancel(c.e.ctx)
	c.health = p
	p.timer = time.AfterFunc(c.untilCheck(), func() { c.probe(p) })
}

func (c *Container) stopHealth() {
	if p := c.health; p != nil {
		p.stop()
		p.timer.Stop()
		c.health = nil
	}
}

// untilCheck is the time from one check to the next.
func (c *Container) untilCheck() time.Duration {
	v := c.View()
	h := v.Config.Healthcheck
	interval := h.Interval
	if interval == 0 {
		interval = healthInterval
	}
	if v.Health != nil && v.Health.Status == container.Starting && time.Since(v.StartedAt) < h.StartPeriod {
		if interval = h.StartInterval; interval == 0 {
			interval = healthStart
		}
	}
	return interval
}

// probe is one check.
func (c *Container) probe(p *prober) {
	v := c.View()
	if v.State == container.StatePaused {
		p.timer.Reset(c.untilCheck())
		return
	}
	timeout := v.Config.Healthcheck.Timeout
	if timeout == 0 {
		timeout = healthTimeout
	}
	result := c.runCheck(p.ctx, check(v.Record), timeout)
	_ = c.do(func() error { // one that is gone needs no check
		if c.health != p || p.ctx.Err() != nil {
			return nil
		}
		c.checked(result)
		p.timer.Reset(c.untilCheck())
		return nil
	})
}

func (c *Container) runCheck(ctx context.Context, command []string, timeout time.Duration) *container.HealthcheckResult {
	result := &container.HealthcheckResult{Start: time.Now(), ExitCode: -1}
	p, err := c.newProcess(processOptions{config: &container.ExecCreateRequest{Cmd: command, AttachStdout: true, AttachStderr: true}})
	if err != nil {
		result.Output, result.End = err.Error(), time.Now()
		return result
	}
	defer p.close()
	var output head
	p.connect(ctx, nil, output.write)
	late := time.NewTimer(timeout)
	defer late.Stop()
	select {
	case result.ExitCode = <-p.exited:
		p.drain()
		result.Output = output.String()
	case <-late.C:
		p.kill()
		result.Output = "Health check exceeded timeout (" + timeout.String() + ")"
		if text := output.String(); text != "" {
			result.Output += ": " + text
		}
	case <-ctx.Done():
		p.kill()
	}
	result.End = time.Now()
	return result
}

// checked takes the result of a check into account. Only own calls it.
func (c *Container) checked(result *container.HealthcheckResult) {
	v := c.View()
	h := v.Config.Healthcheck
	retries := h.Retries
	if retries == 0 {
		retries = healthRetries
	}
	before := v.Health.Status
	c.editHealth(func(now *Health) {
		now.Log = append(slices.Clone(now.Log[max(0, len(now.Log)-healthLog+1):]), result)
		if result.ExitCode == 0 {
			now.FailingStreak, now.Status = 0, container.Healthy
			return
		}
		starting := now.Status == container.Starting && result.Start.Sub(v.StartedAt) < h.StartPeriod
		if starting {
			return
		}
		now.FailingStreak++
		if now.FailingStreak >= retries {
			now.Status = container.Unhealthy
		}
	})
	if after := c.View().Health; after.Status != before {
		err := c.edit(func(m *Memory) { m.because("is "+string(after.Status), healthReason(result, after.FailingStreak)) })
		if err != nil {
			c.e.log.Error("write a container's state", "container", c.id, "error", err)
		}
	}
	if after := c.View().Health.Status; after != before {
		c.publish("health_status: " + string(after))
	}
}

func (c *Container) editHealth(change func(*Health)) {
	err := c.edit(func(m *Memory) {
		h := Health{}
		if m.Health != nil {
			h = *m.Health
		}
		change(&h)
		m.Health = &h
	})
	if err != nil {
		c.e.log.Error("write a container's state", "container", c.id, "error", err)
	}
}

func (v *View) apiHealth() *container.Health { return v.Health }

// healthText is what docker ps says of it.
func (v *View) healthText() string {
	switch {
	case v.Health == nil:
		return ""
	case v.Health.Status == container.Starting:
		return "health: starting"
	}
	return string(v.Health.Status)
}

func (v *View) healthSummary() *container.HealthSummary {
	if v.Health == nil {
		return &container.HealthSummary{Status: container.NoHealthcheck}
	}
	return &container.HealthSummary{Status: v.Health.Status, FailingStreak: v.Health.FailingStreak}
}

// head keeps the beginning of what is written, up to healthOutput.
type head struct {
	mu   sync.Mutex
	text []byte
}

func (t *head) write(_ byte, p []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p[:min(healthOutput-len(t.text), len(p))]...)
	return nil
}

func (t *head) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

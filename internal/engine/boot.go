package engine

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
)

// Labels by which compose says what it knows of a service.
const (
	labelProject = "com.docker.compose.project"
	labelService = "com.docker.compose.service"
	labelDepends = "com.docker.compose.depends_on"
)

// bootWait is how long a boot waits for what a container depends on; it is started then, too: a device whose
// database is ill had better show its page than nothing.
const bootWait = 2 * time.Minute

// bootLook is how often it looks.
const bootLook = 50 * time.Millisecond

// A dependency is a service of the same project that has to be so far before a container is started.
type dependency struct {
	service   string
	condition string // service_started, service_healthy, service_completed_successfully
}

// dependencies reads the label that compose 2 writes: SERVICE:CONDITION:RESTART, with commas between.
func dependencies(r *Record) (all []dependency) {
	for d := range strings.SplitSeq(r.Config.Labels[labelDepends], ",") {
		f := strings.Split(strings.TrimSpace(d), ":")
		if f[0] == "" {
			continue
		}
		condition := "service_started"
		if len(f) > 1 && f[1] != "" {
			condition = f[1]
		}
		all = append(all, dependency{f[0], condition})
	}
	return all
}

// met tells whether a container is as far as a dependency wants it; coming: whether that can still happen by itself.
func (d dependency) met(v *View, coming bool) (ok bool, text string) {
	switch {
	case d.condition == "service_completed_successfully":
		ok = v.State == container.StateExited && v.Runs > 0 && v.ExitCode == 0
		text = "done"
	case d.condition == "service_healthy" && check(v.Record) != nil:
		ok = v.Running() && v.Health != nil && v.Health.Status == container.Healthy
		text = "healthy"
	default:
		ok = v.Runs > 0
		text = "started"
	}
	if ok {
		return true, v.Name + " is " + text
	}
	if !coming && !v.Running() && v.State != container.StateRestarting {
		return true, v.Name + " is " + v.describe() + ", and nothing starts it"
	}
	return false, v.Name + " is not " + text
}

// starter starts containers after a boot.
type starter struct {
	e       *Engine
	pending []*Container
	until   time.Time
}

// startAll starts containers in the order in which they were made, but each only when those that it depends on are
// as far as it needs them. One that waits holds no other up.
func (e *Engine) startAll(list []*Container) {
	s := &starter{e: e, pending: list, until: time.Now().Add(cmp.Or(e.o.BootWait, bootWait))}
	for {
		for i := 0; i < len(s.pending); {
			c := s.pending[i]
			ready, why := s.ready(c)
			if !ready || e.ctx.Err() != nil {
				i++
				continue
			}
			s.pending = slices.Delete(s.pending, i, i+1)
			s.start(c, why)
			i = 0 // those made before may have waited for this one
		}
		if len(s.pending) == 0 {
			return
		}
		select {
		case <-time.After(bootLook):
		case <-e.ctx.Done():
			return
		}
	}
}

func (s *starter) start(c *Container, why string) {
	err := c.do(func() error {
		v := c.View()
		if v.Running() {
			return nil // somebody was faster
		}
		return c.start(0, "the device has booted, and its restart policy is "+v.policyText()+why)
	})
	if err != nil && KindOf(err) != NotFound {
		s.e.log.Error("start a container at boot", "container", c.id, "error", err)
	}
}

// ready tells whether a container can be started, and what for.
func (s *starter) ready(c *Container) (ready bool, why string) {
	r := c.View().Record
	ready = true
	for _, d := range dependencies(r) {
		for _, other := range s.e.ofService(r.Config.Labels[labelProject], d.service) {
			if other == c {
				continue
			}
			v := other.View()
			ok, text := d.met(&v, slices.Contains(s.pending, other))
			ready = ready && ok
			why += "; " + text
		}
	}
	if !ready && time.Now().After(s.until) {
		return true, why + ", and it was waited for long enough"
	}
	return ready, why
}

// ofService are the containers of a service of a project.
func (e *Engine) ofService(project, service string) (all []*Container) {
	for _, c := range e.Containers() {
		l := c.View().Config.Labels
		if l[labelProject] == project && l[labelService] == service && l["com.docker.compose.oneoff"] != "True" {
			all = append(all, c)
		}
	}
	return all
}

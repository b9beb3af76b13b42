package cgroup

import (
	"fmt"
	"path/filepath"
)

// buildV1 plans the directories of the chosen v1 hierarchies.
func (b *planner) buildV1(c *converted) error {
	var last string
	for i := range b.h.v1 {
		y := &b.h.v1[i]
		s, ok := b.v1dirs[y]
		if !ok {
			continue
		}
		if y.is("freezer") {
			if err := checkThawed(s.dir); err != nil {
				return err
			}
		}
		if err := b.stepsV1(y, s, c); err != nil {
			return err
		}
		tasks := filepath.Join(s.dir, "tasks")
		switch {
		case y.is("memory"):
			last = tasks
		case b.unit != nil && y.is(systemdHierarchy):
			// systemd moves the process there itself.
		default:
			b.plan.Tasks = append(b.plan.Tasks, tasks)
		}
		b.record(y.controllers, s.dir)
	}
	if last != "" {
		b.plan.Tasks = append(b.plan.Tasks, last)
	}
	return nil
}

// record notes the directory of controllers in the group.
func (b *planner) record(controllers []string, dir string) {
	if b.plan.Group.Paths == nil {
		b.plan.Group.Paths = make(map[string]string)
	}
	for _, name := range controllers {
		b.plan.Group.Paths[name] = dir
	}
}

// checkThawed refuses a v1 group that is frozen, or would be: a group inherits
// the state of the one above it.
func checkThawed(dir string) error {
	near := nearest(dir)
	if state := readString(near, "freezer.state"); state == "FROZEN" || state == "FREEZING" {
		return fmt.Errorf("cgroup %s is frozen", near)
	}
	return nil
}

// stepsV1 plans one hierarchy: directories, then what lets a process in, then
// the limits.
func (b *planner) stepsV1(y *hierarchy, at spot, c *converted) error {
	dir := at.dir
	dirs := between(y.point, dir)
	// systemd may or may not have made the group by then, by its version.
	b.plan.Steps = append(b.plan.Steps, mkdirs(dirs, !at.there && b.unit == nil)...)
	for _, name := range y.controllers {
		settings := c.settings[name]
		switch {
		case name == "cpuset":
			p := place{controller: name, top: y.point}
			b.plan.Steps = append(b.plan.Steps, cpusetInherit(p, dirs, settings)...)
		case name == "devices" && len(b.rules) > 0 && !b.r.Rootless:
			steps, err := devicesV1(dir, b.rules)
			if err != nil {
				return err
			}
			b.plan.Steps = append(b.plan.Steps, steps...)
		}
		if at.there {
			b.plan.Steps = append(b.plan.Steps, liftOld(settings, dir)...)
		}
		for _, s := range settings {
			b.plan.Steps = append(b.plan.Steps, s.step(dir))
		}
	}
	if b.r.Rootless && y.is("devices") && len(b.rules) > 0 {
		b.warnDevices()
	}
	return nil
}

// warnDevices says that device rules are left out: only root of the machine may
// set them, and without it a container cannot make device nodes anyway.
func (b *planner) warnDevices() {
	b.plan.Warnings = append(b.plan.Warnings, "device rules are not applied: only root may set them")
}

// liftOld takes off, in a group that was there before, the limits that would be
// in the way of the new ones, as each pair of them must fit at any time.
func liftOld(settings []setting, dir string) []Step {
	var steps []Step
	for file, lifted := range map[string]string{v1MemswLimit: "-1", "cpu.cfs_quota_us": "-1"} {
		if sets(settings, file) {
			steps = append(steps, setting{file: file, value: lifted}.step(dir))
		}
	}
	return steps
}

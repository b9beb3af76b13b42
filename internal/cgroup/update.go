package cgroup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Update changes limits of the running container; what r leaves out stays as it
// is. Device rules, if r has any, replace those in force.
//
// A controller that the container did not use so far is put to use: on v1 a new
// entry appears in g.Paths, so the group must be stored again afterwards.
func (g Group) Update(r *specs.LinuxResources) error {
	h, err := Probe()
	if err != nil {
		return err
	}
	return g.update(h, r)
}

func (g Group) update(h *Host, r *specs.LinuxResources) error {
	if r == nil {
		return nil
	}
	if len(g.Paths) == 0 {
		if limit := firstLimit(r); limit != "" {
			return fmt.Errorf("update %s: %w", limit, ErrNoGroup)
		}
		return nil
	}
	rules, err := deviceRules(r.Devices)
	if err != nil {
		return err
	}
	c, err := convert(r, func(controller string) place { return g.place(h, controller) })
	if err != nil {
		return err
	}
	var extra []setting
	if len(r.Unified) > 0 {
		if extra, err = g.unified(h, r.Unified); err != nil {
			return err
		}
	}
	if err := g.checkUsage(r.Memory); err != nil {
		return err
	}
	if err := g.updateUnit(h, r, rules); err != nil {
		return err
	}
	for _, name := range c.order {
		dir, err := g.use(h, name)
		if err != nil {
			return err
		}
		if err := writeSettings(dir, c.settings[name]); err != nil {
			return err
		}
	}
	if err := writeSettings(g.v2(), extra); err != nil {
		return err
	}
	return g.updateDevices(h, rules)
}

// place is Host.place for a group that exists.
func (g Group) place(h *Host, controller string) place {
	p := h.place(controller)
	p.dir = g.Paths[p.controller]
	if p.v2 {
		p.dir = g.v2()
	}
	return p
}

// unified converts the v2 files of an update and makes sure that their
// controllers are on.
func (g Group) unified(h *Host, files map[string]string) ([]setting, error) {
	if g.v2() == "" || h.v2 == nil {
		return nil, errors.New("unified resources: the container has no cgroup v2 group")
	}
	list, needed, err := unifiedSettings(files, h.v2.controllers)
	for _, name := range needed {
		if err == nil {
			_, err = g.use(h, name)
		}
	}
	return list, err
}

// use returns the directory of a controller and puts it to use if need be.
func (g Group) use(h *Host, controller string) (string, error) {
	if dir, ok := g.Paths[controller]; ok {
		return dir, nil
	}
	if y := h.find(controller); y != nil {
		return g.useV1(y, controller)
	}
	dir := g.v2()
	if dir == "" {
		return "", fmt.Errorf("update %s: the container has no cgroup v2 group", controller)
	}
	on := strings.Fields(readString(dir, "cgroup.controllers"))
	if slices.Contains(on, controller) {
		return dir, nil
	}
	b := planner{h: h, needed: map[string]bool{controller: true}}
	above := h.v2.point
	for _, d := range between(h.v2.point, dir) {
		steps, err := b.enable(above, b.needed)
		if err == nil {
			err = Run(steps)
		}
		if err != nil {
			return "", err
		}
		above = d
	}
	return dir, nil
}

// useV1 makes a group in a hierarchy that the container is not in yet, below
// where its processes are now, and moves them there.
func (g Group) useV1(y *hierarchy, controller string) (string, error) {
	pids, err := g.Pids()
	if err != nil {
		return "", err
	}
	if y.own == "" {
		return "", fmt.Errorf("update %s: the group of this process is not below the mount %s", controller, y.point)
	}
	main, err := g.main()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(y.own, "tare", filepath.Base(main))
	dirs := between(y.point, dir)
	steps := mkdirs(dirs, false)
	if y.is("cpuset") {
		steps = append(steps, cpusetInherit(place{controller: "cpuset", top: y.point}, dirs, nil)...)
	}
	if err := Run(steps); err != nil {
		return "", fmt.Errorf("update %s: %w", controller, err)
	}
	for _, name := range y.controllers {
		g.Paths[name] = dir
	}
	// Until no fork has escaped: a child of a moved process is in the group.
	err = wait(freezeTime, func(int) (bool, error) {
		for _, pid := range pids {
			err := writeFile(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return false, err
			}
		}
		all, err := processes(main)
		if err != nil {
			return false, err
		}
		moved, err := processes(dir)
		pids = slices.DeleteFunc(all, func(pid int) bool { return slices.Contains(moved, pid) })
		return len(pids) == 0, err
	})
	if err != nil {
		return "", fmt.Errorf("update %s: move processes: %w", controller, err)
	}
	return dir, nil
}

// writeSettings writes settings to the group at dir. Some of them must fit
// together at any time, as memory and memory+swap, quota and period: what the
// kernel refuses (EINVAL) is tried again once others have changed.
func writeSettings(dir string, list []setting) error {
	for len(list) > 0 {
		var refused []setting
		var last error
		for _, s := range list {
			err := s.step(dir).Do()
			switch {
			case errors.Is(err, unix.EINVAL):
				refused, last = append(refused, s), err
			case errors.Is(err, unix.EBUSY):
				return busy(dir, err)
			case err != nil:
				return err
			}
		}
		if len(refused) == len(list) {
			return last
		}
		list = refused
	}
	return nil
}

// busy explains why v1 refused a memory limit.
func busy(dir string, err error) error {
	usage, usageErr := readUint(dir, "memory.usage_in_bytes")
	if usageErr != nil {
		return err
	}
	return fmt.Errorf("%w (current usage: %d bytes)", err, usage)
}

// checkUsage refuses a v2 memory limit below what is in use, when asked to: the
// kernel would not refuse but kill.
func (g Group) checkUsage(m *specs.LinuxMemory) error {
	if m == nil || !value(m.CheckBeforeUpdate) || g.v2() == "" {
		return nil
	}
	usage, err := readUint(g.v2(), "memory.current")
	if gone(err) {
		return nil // nothing is counted yet
	}
	if err != nil {
		return err
	}
	if v := value(m.Limit); v > 0 && uint64(v) <= usage {
		return fmt.Errorf("rejecting memory limit %d <= usage %d", v, usage)
	}
	if v := value(m.Swap); v > 0 && uint64(v) <= usage {
		return fmt.Errorf("rejecting memory+swap limit %d <= usage %d", v, usage)
	}
	return nil
}

// updateUnit tells systemd about the new limits.
func (g Group) updateUnit(h *Host, r *specs.LinuxResources, rules []deviceRule) error {
	if g.Unit == "" {
		return nil
	}
	u := Unit{Name: g.Unit, User: g.UserUnit}
	if err := u.limit(r, h.Mode() == V2, rules); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), unitTime)
	defer cancel()
	return setUnit(ctx, u.Name, u.User, u.properties)
}

// updateDevices replaces the device rules.
func (g Group) updateDevices(h *Host, rules []deviceRule) error {
	if len(rules) == 0 {
		return nil
	}
	if h.find("devices") == nil {
		dir := g.v2()
		if dir == "" {
			return fmt.Errorf("update device rules: %w devices", ErrController)
		}
		program, err := deviceProgram(rules)
		if err != nil {
			return err
		}
		return ApplyDevices(dir, program)
	}
	dir, err := g.use(h, "devices")
	if err != nil {
		return err
	}
	steps, whole, err := changeDevicesV1(dir, readString(dir, "devices.list"), rules)
	if err != nil || !whole {
		return errors.Join(err, Run(steps))
	}
	// Between the first line and the last nothing, or too much, is allowed: the
	// processes must not see that.
	was, err := g.Frozen()
	if err != nil {
		return err
	}
	if !was {
		if err := g.Freeze(); err != nil && !errors.Is(err, ErrNoFreezer) {
			return err
		} else if err == nil {
			defer func() { _ = g.Thaw() }()
		}
	}
	return Run(steps)
}

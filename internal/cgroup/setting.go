package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// setting is one value to be written to one control file of a group.
type setting struct {
	file, value string
	optional    bool     // as Step.Optional
	other       *setting // as Step.Else
}

// step makes the setting a step on the group at dir.
func (s setting) step(dir string) Step {
	t := Step{Kind: Write, Path: filepath.Join(dir, s.file), Value: s.value, Optional: s.optional}
	if s.other != nil {
		e := s.other.step(dir)
		t.Else = &e
	}
	return t
}

// place is what a conversion knows about where its settings go.
type place struct {
	controller string
	v2         bool
	missing    bool   // the machine does not have the controller: settings for it are refused
	top        string // mount point of the hierarchy; its v1 files tell what the kernel has
	dir        string // the group itself, or "" while it is not made
	files      string // "/" or the root of a fake tree
}

// has reports whether the kernel has a v1 control file. Most v1 files are in
// the root group too, so it can be known before the group is made.
func (p place) has(file string) bool {
	return exists(filepath.Join(p.top, file))
}

// now returns the present value of a file of the group, "" before it is made.
func (p place) now(file string) string {
	if p.dir == "" {
		return ""
	}
	return readString(p.dir, file)
}

// converted is what linux.resources comes to on this machine: the settings of
// each controller in the order of writing.
type converted struct {
	order    []string // controllers in the order in which they are written
	settings map[string][]setting
	warnings []string
}

func (c *converted) add(controller string, s ...setting) {
	if len(s) == 0 {
		return
	}
	if c.settings == nil {
		c.settings = make(map[string][]setting)
	}
	if c.settings[controller] == nil {
		c.order = append(c.order, controller)
	}
	c.settings[controller] = append(c.settings[controller], s...)
}

// ErrController is wrapped by errors about a limit whose controller this
// machine does not have.
var ErrController = errors.New("this machine does not have the cgroup controller")

// section is one part of linux.resources: the v1 controller it is for and its
// conversion.
type section struct {
	controller string
	convert    func(place) ([]setting, error)
}

// sections returns the parts of r that are present, in the order of writing.
// Devices and unified are not among them.
func sections(r *specs.LinuxResources) []section {
	var list []section
	add := func(controller string, convert func(place) ([]setting, error)) {
		list = append(list, section{controller, convert})
	}
	if p := r.Pids; p != nil {
		add("pids", func(place) ([]setting, error) { return pidsSettings(p) })
	}
	if m := r.Memory; m != nil {
		add("memory", func(p place) ([]setting, error) { return memorySettings(p, m) })
	}
	if c := r.CPU; c != nil {
		add("cpu", func(p place) ([]setting, error) { return cpuSettings(p, c) })
		add("cpuset", func(p place) ([]setting, error) { return cpusetSettings(p, c), nil })
	}
	if b := r.BlockIO; b != nil {
		add("blkio", func(p place) ([]setting, error) { return blockioSettings(p, b) })
	}
	if l := r.HugepageLimits; len(l) > 0 {
		add("hugetlb", func(p place) ([]setting, error) { return hugetlbSettings(p, l) })
	}
	if n := r.Network; n != nil {
		add("net_cls", func(p place) ([]setting, error) { return classSettings(p, n) })
		add("net_prio", func(p place) ([]setting, error) { return prioritySettings(p, n) })
	}
	if m := r.Rdma; len(m) > 0 {
		add("rdma", func(place) ([]setting, error) { return rdmaSettings(m) })
	}
	return list
}

// convert turns all of r but devices and unified into settings. find tells
// where a controller, by its v1 name, is on this machine.
func convert(r *specs.LinuxResources, find func(controller string) place) (*converted, error) {
	c := &converted{warnings: resourceWarnings(r, find)}
	for _, s := range sections(r) {
		p := find(s.controller)
		settings, err := s.convert(p)
		if err != nil {
			return nil, err
		}
		if len(settings) > 0 && p.missing {
			return nil, fmt.Errorf("%s limit: %w %s", s.controller, ErrController, p.controller)
		}
		c.add(p.controller, settings...)
	}
	return c, nil
}

// resourceWarnings names what is asked for but has no effect, where the
// specification allows that.
func resourceWarnings(r *specs.LinuxResources, find func(controller string) place) []string {
	m := r.Memory
	if m == nil || kernelMemory(m) == 0 {
		return nil
	}
	// The specification says of linux.resources.memory.kernel: "should no longer
	// be used, as it may be ignored by runtimes". Older Docker always sends it.
	if find("memory").v2 {
		return []string{"memory.kernel is ignored: cgroup v2 does not limit kernel memory apart"}
	}
	return []string{"memory.kernel is deprecated: kernels since 5.16 ignore it"}
}

// v2Name is the name that v2 gives to a v1 controller, "" if it has none.
func v2Name(controller string) string {
	switch controller {
	case "blkio":
		return "io"
	case "cpuacct":
		return "cpu"
	case "cpu", "cpuset", "memory", "pids", "hugetlb", "rdma", "misc", "perf_event":
		return controller
	}
	return ""
}

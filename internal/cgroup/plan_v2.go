package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// buildV2 plans the directory in the v2 hierarchy, if it is used.
func (b *planner) buildV2(c *converted) error {
	if b.v2dir.dir == "" {
		return nil
	}
	if err := b.checkV2(); err != nil {
		return err
	}
	dirs := between(b.h.v2.point, b.v2dir.dir)
	steps, err := b.enableAll(dirs)
	if err != nil {
		return err
	}
	b.plan.Steps = append(b.plan.Steps, steps...)
	for _, name := range c.order {
		if b.needed[name] {
			b.limitsV2(c.settings[name])
		}
	}
	list, _, err := b.unified()
	if err != nil {
		return err
	}
	b.limitsV2(list) // last: what is said in v2's own terms overrides
	b.chown()
	b.plan.Dir = b.v2dir.dir
	b.record([]string{unified}, b.v2dir.dir)
	return b.devicesV2()
}

// limitsV2 plans the writing of settings.
func (b *planner) limitsV2(settings []setting) {
	for _, s := range settings {
		step := s.step(b.v2dir.dir)
		// With a limit of 0 not even the container's first process could be
		// cloned into the group (systemd moves it there, which is not limited).
		if s.file == "pids.max" && s.value == "0" && b.unit == nil {
			b.plan.Late = append(b.plan.Late, step)
			continue
		}
		b.plan.Steps = append(b.plan.Steps, step)
	}
}

func (b *planner) devicesV2() error {
	if len(b.rules) == 0 || b.h.find("devices") != nil {
		return nil
	}
	if b.r.Rootless {
		b.warnDevices()
		return nil
	}
	program, err := deviceProgram(b.rules)
	b.plan.Devices = program
	return err
}

// checkV2 looks at the group and those above it for what would keep a process
// out of it.
func (b *planner) checkV2() error {
	for _, dir := range between(b.h.v2.point, nearest(b.v2dir.dir)) {
		switch kind := readString(dir, "cgroup.type"); kind {
		case "threaded", "domain invalid":
			return fmt.Errorf("cgroup %s is of type %q: only a domain can hold a container", dir, kind)
		case "domain threaded":
			return fmt.Errorf("cgroup %s is the root of threaded groups: a container cannot be put into it or below", dir)
		}
		if readString(dir, "cgroup.freeze") == "1" {
			return fmt.Errorf("cgroup %s is frozen", dir)
		}
	}
	return nil
}

// enableAll makes dirs, from the top down, and lets each hand the controllers to
// the next. With a path of the engine's choice that is every controller there
// is, for its statistics; otherwise those that limits need.
func (b *planner) enableAll(dirs []string) ([]Step, error) {
	wanted := b.needed
	if b.r.CgroupsPath != "" || b.r.All {
		wanted = maps.Clone(b.needed)
		for _, name := range b.h.v2.controllers {
			wanted[name] = true
		}
	}
	var steps []Step
	made := mkdirs(dirs, !b.v2dir.there && b.unit == nil) // systemd makes the scope itself
	above := b.h.v2.point
	for i, dir := range dirs {
		enable, err := b.enable(above, wanted)
		if err != nil {
			return nil, err
		}
		steps = append(append(steps, enable...), made[i])
		above = dir
	}
	return steps, nil
}

// enable lets the group dir hand the wanted controllers to its children. Those
// that it already does are left out; those that no limit needs are optional.
func (b *planner) enable(dir string, wanted map[string]bool) ([]Step, error) {
	on := strings.Fields(readString(dir, "cgroup.subtree_control"))
	var off []string
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		// devices and freezer are no controllers of v2.
		if slices.Contains(b.h.v2.controllers, name) && !slices.Contains(on, name) {
			off = append(off, name)
		}
	}
	if len(off) == 0 {
		return nil, nil
	}
	blocked := b.blocked(dir)
	var steps []Step
	for _, name := range off {
		if blocked != nil {
			if b.needed[name] {
				return nil, fmt.Errorf("enable cgroup controller %s in %s: %w", name, dir, blocked)
			}
			continue
		}
		// Optional: statistics without a limit. A controller can be there and yet
		// not go into a subtree: cpu while there are realtime processes.
		steps = append(steps, Step{
			Kind: Write, Path: filepath.Join(dir, "cgroup.subtree_control"), Value: "+" + name,
			Optional: !b.needed[name],
		})
	}
	return steps, nil
}

// errInternal is the "no internal processes" rule of cgroup-v2.rst.
var errInternal = errors.New("it holds processes itself, and cgroup v2 hands controllers down only from groups that do not; " +
	"move them into a group of their own")

// blocked says why controllers cannot be enabled in dir: it is not ours to
// write, or it holds processes. Only the real root may do both.
func (b *planner) blocked(dir string) error {
	if !exists(dir) {
		return nil
	}
	file := filepath.Join(dir, "cgroup.subtree_control")
	if err := unix.Faccessat(unix.AT_FDCWD, file, unix.W_OK, unix.AT_EACCESS); err != nil {
		return err
	}
	if dir == b.h.v2.point && b.h.realRoot || readString(dir, "cgroup.procs") == "" {
		return nil
	}
	return errInternal
}

// chown gives the group to the container's root, as the specification asks under
// "Cgroup ownership".
func (b *planner) chown() {
	if b.r.OwnerUID == nil {
		return
	}
	uid := *b.r.OwnerUID
	b.plan.Steps = append(b.plan.Steps, Step{Kind: Chown, Path: b.v2dir.dir, UID: uid})
	for _, file := range delegated(filepath.Join(b.h.files, "sys/kernel/cgroup/delegate")) {
		// Optional: "not all files listed necessarily exist in every cgroup.
		// Runtimes MUST NOT fail in this scenario".
		b.plan.Steps = append(b.plan.Steps, Step{
			Kind: Chown, Path: filepath.Join(b.v2dir.dir, file), UID: uid, Optional: true,
		})
	}
}

// delegated lists the files that go to the new owner of a group.
func delegated(list string) []string {
	text, err := readFile(list)
	if err != nil {
		// Before Linux 4.15, as the specification says.
		return []string{"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"}
	}
	var files []string
	for _, file := range strings.Fields(string(text)) {
		if filepath.IsLocal(file) && !strings.Contains(file, "/") {
			files = append(files, file)
		}
	}
	return files
}

package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Request is what a container's spec asks of its group.
type Request struct {
	ID          string
	CgroupsPath string // linux.cgroupsPath, or "" for a place of Tare's choice
	Resources   *specs.LinuxResources
	Systemd     bool // cgroupsPath is "slice:prefix:name" and the group is a transient scope
	Rootless    bool // go without a group where none can be made and no limits are asked for

	// All makes a group of every mounted controller, as a CgroupsPath does. It
	// is needed when the container gets a cgroup mount: a hierarchy in which it
	// has no group of its own would show the group of whoever started it.
	All bool

	// OwnerUID is the host's number of the container's root, who is given the v2
	// group (specification, "Cgroup ownership"); nil: nobody is.
	OwnerUID *int

	// Annotations of the spec: org.systemd.property.NAME sets a property of the
	// unit when Systemd is set.
	Annotations map[string]string
}

// Plan is how to make the group of a container, as data.
type Plan struct {
	Steps []Step // before the clone; with a Unit, after StartUnit: see Enter
	Late  []Step // when the process is set up in its namespaces, just before the exec gate

	// Tasks are v1 files. The child writes "0" to each itself, in this order:
	// for the current thread the kernel takes no lock. memory is the last, to be
	// joined late.
	Tasks []string

	// Dir is the v2 directory for CLONE_INTO_CGROUP; where clone3 is lacking the
	// child writes "0" to Dir/cgroup.procs. "" without v2. With a Unit it is
	// there only after StartUnit, which moves the process into it.
	Dir string

	// Devices is an eBPF program for Dir: struct bpf_insn. nil: none.
	Devices []byte

	Group    Group // to be kept in the container's state
	Unit     *Unit // systemd: call StartUnit and Enter while the child waits at a gate
	Warnings []string
}

// NewPlan plans the group of a container. It reads the cgroup file systems but
// writes nothing. It fails when the group is there and is frozen or holds
// processes, and when a limit cannot be set on this machine.
func NewPlan(h *Host, r Request) (*Plan, error) {
	p, err := newPlan(h, r)
	if err == nil || !r.Rootless || !(errors.Is(err, unix.EACCES) || errors.Is(err, unix.EROFS)) {
		return p, err
	}
	if limit := firstLimit(r.Resources); limit != "" {
		return nil, fmt.Errorf("%w; without permission to make a cgroup %s cannot be set", err, limit)
	}
	return &Plan{Warnings: []string{"the container runs without a cgroup: " + err.Error()}}, nil
}

// planner is a plan in the making.
type planner struct {
	h         *Host
	r         Request
	resources *specs.LinuxResources // never nil
	rules     []deviceRule
	unit      *Unit
	plan      *Plan

	v1dirs map[*hierarchy]spot // v1 hierarchies in use and the directory in each
	v2dir  spot                // zero while the v2 hierarchy is not in use
	needed map[string]bool     // v2 controllers that a limit needs
}

// spot is where the group is going to be in a hierarchy.
type spot struct {
	dir   string
	there bool // the directory exists already
}

func newPlan(h *Host, r Request) (*Plan, error) {
	b := &planner{
		h: h, r: r, resources: r.Resources, plan: &Plan{},
		v1dirs: make(map[*hierarchy]spot), needed: make(map[string]bool),
	}
	if b.resources == nil {
		b.resources = &specs.LinuxResources{}
	}
	if err := checkRequest(r); err != nil {
		return nil, err
	}
	if h.Mode() == None {
		if limit := firstLimit(r.Resources); limit != "" {
			return nil, fmt.Errorf("%s: no cgroup file system is mounted", limit)
		}
		return &Plan{Warnings: []string{"the container runs without a cgroup: no cgroup file system is mounted"}}, nil
	}
	var err error
	if b.rules, err = deviceRules(b.resources.Devices); err != nil {
		return nil, err
	}
	if r.Systemd {
		if b.unit, err = newUnit(h, r); err != nil {
			return nil, err
		}
	}
	return b.build()
}

func checkRequest(r Request) error {
	if r.ID == "" || strings.ContainsAny(r.ID, "/\n") || r.ID == "." || r.ID == ".." {
		return fmt.Errorf("container id %q cannot name a cgroup", r.ID)
	}
	if strings.ContainsAny(r.CgroupsPath, "\n\x00") {
		return fmt.Errorf("cgroupsPath %q: not a path", r.CgroupsPath)
	}
	if !r.Systemd && r.CgroupsPath != "" && filepath.Clean("/"+r.CgroupsPath) == "/" {
		return fmt.Errorf("cgroupsPath %q is the root of the hierarchy, not a container's group", r.CgroupsPath)
	}
	return nil
}

// build decides which hierarchies are used and plans each of them.
func (b *planner) build() (*Plan, error) {
	c, err := convert(b.resources, b.place)
	if err != nil {
		return nil, err
	}
	b.plan.Warnings = append(b.plan.Warnings, c.warnings...)
	if err := b.choose(c); err != nil {
		return nil, err
	}
	if err := b.buildV1(c); err != nil {
		return nil, err
	}
	if err := b.buildV2(c); err != nil {
		return nil, err
	}
	if b.unit != nil {
		if err := b.unit.limit(b.resources, b.h.Mode() == V2, b.rules); err != nil {
			return nil, err
		}
		b.plan.Unit = b.unit
		b.plan.Group.Unit, b.plan.Group.UserUnit = b.unit.Name, b.unit.User
	}
	return b.plan, nil
}

// place says where a controller of linux.resources is: a v1 hierarchy of its own
// first, else the v2 one.
func (b *planner) place(controller string) place { return b.h.place(controller) }

func (h *Host) place(controller string) place {
	if y := h.find(controller); y != nil {
		return place{controller: controller, top: y.point, files: h.files}
	}
	p := place{controller: controller, v2: len(h.v1) == 0, missing: true, files: h.files}
	if name := v2Name(controller); name != "" && h.v2 != nil {
		if h.offers(name) {
			return place{controller: name, v2: true, top: h.v2.point, files: h.files}
		}
		if p.v2 {
			p.controller = name
		}
	}
	return p
}

// offers reports whether the v2 hierarchy has the controller.
func (h *Host) offers(controller string) bool {
	if h.v2 == nil {
		return false
	}
	for _, c := range h.v2.controllers {
		if c == controller {
			return true
		}
	}
	return false
}

// choose fills in v1dirs, v2dir and needed: the directories the container gets.
func (b *planner) choose(c *converted) error {
	all := b.r.CgroupsPath != "" || b.r.All || b.unit != nil
	use := map[string]bool{"freezer": true} // pause and kill need it
	for _, name := range c.order {
		use[name] = true
	}
	if len(b.rules) > 0 && !b.r.Rootless {
		use["devices"] = true
	}
	for i := range b.h.v1 {
		y := &b.h.v1[i]
		if !all && !usesAny(y, use) || named(y) && !all {
			continue
		}
		if named(y) && !y.is(systemdHierarchy) {
			continue // someone else's bookkeeping
		}
		s, err := b.spot(*y)
		if err != nil {
			return err
		}
		b.v1dirs[y] = s
	}
	return b.chooseV2(c, use)
}

// chooseV2 decides whether the v2 hierarchy is used, and for what.
func (b *planner) chooseV2(c *converted, use map[string]bool) error {
	for _, name := range c.order {
		if b.h.offers(name) && b.h.find(name) == nil {
			b.needed[name] = true
		}
	}
	_, needed, err := b.unified()
	if err != nil {
		return err
	}
	for _, name := range needed {
		b.needed[name] = true
	}
	for _, name := range []string{"devices", "freezer"} {
		// v2 has these without a controller: eBPF and cgroup.freeze.
		if use[name] && b.h.find(name) == nil {
			b.needed[name] = true
		}
	}
	if b.h.v2 == nil {
		if b.needed["devices"] {
			return fmt.Errorf("device rules: %w devices", ErrController)
		}
		return nil // without a freezer the container cannot be paused, but runs
	}
	if b.h.Mode() == V2 || len(b.needed) > 0 {
		b.v2dir, err = b.spot(*b.h.v2)
	}
	return err
}

// unified converts linux.resources.unified.
func (b *planner) unified() ([]setting, []string, error) {
	if len(b.resources.Unified) == 0 {
		return nil, nil, nil
	}
	if b.h.v2 == nil {
		return nil, nil, errors.New("unified resources: this machine has cgroup v1 only")
	}
	return unifiedSettings(b.resources.Unified, b.h.v2.controllers)
}

// systemdHierarchy is the named v1 hierarchy in which systemd keeps its units.
const systemdHierarchy = "name=systemd"

func named(y *hierarchy) bool {
	return strings.HasPrefix(y.controllers[0], "name=")
}

func usesAny(y *hierarchy, use map[string]bool) bool {
	for _, c := range y.controllers {
		if use[c] {
			return true
		}
	}
	return false
}

// spot is the container's directory in a hierarchy.
func (b *planner) spot(y hierarchy) (spot, error) {
	dir, err := b.dir(y)
	if err != nil {
		return spot{}, err
	}
	s := spot{dir, exists(dir)}
	if s.there {
		return s, checkUnused(dir)
	}
	// For root the kernel's word is good enough; others can do without a group.
	if b.r.Rootless {
		err = checkPermission(dir)
	}
	return s, err
}

// dir names the container's directory in a hierarchy. An absolute cgroupsPath
// begins at the mount point; a relative one at the base of the hierarchy; and
// without one the group is called tare/ID there.
func (b *planner) dir(y hierarchy) (string, error) {
	if b.unit != nil {
		return filepath.Join(y.point, b.unit.path), nil
	}
	path := b.r.CgroupsPath
	if strings.HasPrefix(path, "/") {
		return filepath.Join(y.point, path), nil // Join cleans: .. cannot leave "/"
	}
	base, err := b.h.base(y)
	if err != nil {
		return "", fmt.Errorf("cgroup of %s: %w", b.r.ID, err)
	}
	if path == "" {
		return filepath.Join(base, "tare", b.r.ID), nil
	}
	return filepath.Join(base, filepath.Clean("/"+path)), nil
}

// firstLimit names a part of the resources that asks for a limit, "" if none
// does. Device rules are not limits: they come with every container.
func firstLimit(r *specs.LinuxResources) string {
	if r == nil {
		return ""
	}
	if len(r.Unified) > 0 {
		return "unified"
	}
	for _, s := range sections(r) {
		// Any place will do: whether there are settings does not depend on it,
		// and what cannot be converted is a limit as well.
		if list, err := s.convert(place{v2: true}); err != nil || len(list) > 0 {
			return "the limit of " + s.controller
		}
	}
	return ""
}

// between lists the directories from below top down to dir.
func between(top, dir string) []string {
	below, ok := under(top, dir)
	if !ok {
		return nil
	}
	var list []string
	for name := range strings.SplitSeq(strings.Trim(below, "/"), "/") {
		top = filepath.Join(top, name)
		list = append(list, top)
	}
	return list
}

// mkdirs makes the directories. The last is the container's: mustBeNew is for
// it.
func mkdirs(dirs []string, mustBeNew bool) []Step {
	var steps []Step
	for i, dir := range dirs {
		last := i == len(dirs)-1
		steps = append(steps, Step{Kind: Mkdir, Path: dir, MustBeNew: last && mustBeNew})
	}
	return steps
}

// checkPermission fails with EACCES or EROFS when dir cannot be made.
func checkPermission(dir string) error {
	near := nearest(dir)
	if err := writable(near); err != nil {
		return fmt.Errorf("make cgroup %s: %s: %w", dir, near, err)
	}
	return nil
}

// checkUnused refuses a group that another container may be using: one that
// holds processes, or that is frozen, where the new process would never start.
func checkUnused(dir string) error {
	pids, err := processes(dir)
	if err != nil {
		return err
	}
	if len(pids) > 0 {
		return fmt.Errorf("cgroup %s is not empty: %d processes", dir, len(pids))
	}
	return nil
}

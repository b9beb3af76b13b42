package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Mode says which versions of the cgroup file system a machine has mounted.
type Mode int

// The modes of a machine.
const (
	None   Mode = iota // no cgroup file system is mounted
	V1                 // only v1 hierarchies
	Hybrid             // v1 hierarchies and a v2 hierarchy beside them
	V2                 // only the v2 hierarchy
)

func (m Mode) String() string {
	switch m {
	case V1:
		return "v1"
	case Hybrid:
		return "hybrid"
	case V2:
		return "v2"
	}
	return "none"
}

// Mount is one mounted hierarchy: what a container's own cgroup mount is made
// after. Controllers is empty for v2 and holds "name=x" for a named hierarchy.
type Mount struct {
	Controllers []string
	Mountpoint  string // on the host
	Root        string // the directory of the hierarchy that is mounted there
	V2          bool
}

// Host is what Probe found: which hierarchies are mounted where, and in which
// group of each this process is. It does not change after Probe.
type Host struct {
	v1       []hierarchy
	v2       *hierarchy
	realRoot bool   // the v2 mount shows the real root group, which may hold processes and enable controllers
	files    string // "/" or the root of a fake tree
}

// hierarchy is one mounted tree of groups.
type hierarchy struct {
	controllers []string // v1: bound to it, "name=x" for a named one; v2: what its top offers
	point       string
	root        string
	own         string // this process's group as a directory; "" when it is not below the mount
	v2          bool
}

// is reports whether the hierarchy is the v1 one of the controller.
func (h hierarchy) is(controller string) bool {
	return !h.v2 && slices.Contains(h.controllers, controller)
}

// Probe reads what is mounted on this machine and where this process is. It
// opens /proc/self/mountinfo, /proc/self/cgroup and, for v2, cgroup.controllers.
func Probe() (*Host, error) { return ProbeAt("/") }

// ProbeAt is Probe with another directory in the place of "/": a test's tree
// has proc/self/mountinfo, proc/self/cgroup and the cgroup directories in it.
func ProbeAt(root string) (*Host, error) {
	mounts, err := readFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("probe cgroups: %w", err)
	}
	member, err := readFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil && !os.IsNotExist(err) { // absent: a kernel without cgroups
		return nil, fmt.Errorf("probe cgroups: %w", err)
	}
	parsedMounts, err := parseMountinfo(string(mounts))
	if err != nil {
		return nil, fmt.Errorf("probe cgroups: %w", err)
	}
	parsedMember, err := parseMembership(string(member))
	if err != nil {
		return nil, fmt.Errorf("probe cgroups: %w", err)
	}
	h := &Host{files: root}
	for _, m := range parsedMember {
		h.add(m, parsedMounts)
	}
	return h, nil
}

// add finds where the hierarchy that m is a member of is mounted, if anywhere.
func (h *Host) add(m membership, mounts []mount) {
	v2 := len(m.controllers) == 0
	best, ok := mount{}, false
	for _, c := range mounts {
		if c.v2 != v2 || !v2 && !boundTo(c, m.controllers) {
			continue
		}
		// Containers' own mounts are in the table too; the standard place wins,
		// then the mount that came first.
		if !ok || inStandardPlace(c) && !inStandardPlace(best) {
			best, ok = c, true
		}
	}
	if !ok {
		return
	}
	y := hierarchy{controllers: m.controllers, point: filepath.Join(h.files, best.point), root: best.root, v2: v2}
	if below, ok := under(best.root, m.path); ok {
		y.own = filepath.Join(y.point, below)
	}
	if !v2 {
		h.v1 = append(h.v1, y)
		return
	}
	y.controllers = strings.Fields(readString(y.point, "cgroup.controllers"))
	// Only the real root has no cgroup.type: the top of a cgroup namespace has one.
	h.realRoot = !exists(filepath.Join(y.point, "cgroup.type"))
	h.v2 = &y
}

func boundTo(m mount, controllers []string) bool {
	for _, c := range controllers {
		if !slices.Contains(m.options, c) {
			return false
		}
	}
	return true
}

func inStandardPlace(m mount) bool {
	return m.point == "/sys/fs/cgroup" || strings.HasPrefix(m.point, "/sys/fs/cgroup/")
}

// under returns path relative to root when it is root or below it.
func under(root, path string) (string, bool) {
	if root == "/" {
		return path, !strings.HasPrefix(path, "/..")
	}
	rest, ok := strings.CutPrefix(path, root)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// Mode tells which versions are mounted.
func (h *Host) Mode() Mode {
	switch {
	case len(h.v1) > 0 && h.v2 != nil:
		return Hybrid
	case len(h.v1) > 0:
		return V1
	case h.v2 != nil:
		return V2
	}
	return None
}

// Mounts lists the mounted hierarchies, v1 in the kernel's order and v2 last.
func (h *Host) Mounts() []Mount {
	var list []Mount
	for _, y := range h.v1 {
		list = append(list, Mount{Controllers: slices.Clone(y.controllers), Mountpoint: y.point, Root: y.root})
	}
	if h.v2 != nil {
		list = append(list, Mount{Mountpoint: h.v2.point, Root: h.v2.root, V2: true})
	}
	return list
}

// Delegated reports whether this process may make groups in the v2 hierarchy
// below the place where Tare puts them by default.
func (h *Host) Delegated() bool {
	if h.v2 == nil {
		return false
	}
	base, err := h.base(*h.v2)
	return err == nil && writable(nearest(base)) == nil
}

// find returns the v1 hierarchy of a controller, or nil.
func (h *Host) find(controller string) *hierarchy {
	for i := range h.v1 {
		if h.v1[i].is(controller) {
			return &h.v1[i]
		}
	}
	return nil
}

// base is the directory below which a group without an absolute path is made.
//
// On v1 that is this process's own group. On v2 a group that holds processes
// cannot hand controllers to its children (the "no internal processes" rule of
// the kernel's cgroup-v2.rst), and its own group holds this process: so there
// it is the parent of that, unless it is the real root, which is exempt.
func (h *Host) base(y hierarchy) (string, error) {
	if y.own == "" {
		return "", fmt.Errorf("the group of this process is not below the mount %s", y.point)
	}
	if !y.v2 || y.own == y.point {
		return y.own, nil
	}
	return filepath.Dir(y.own), nil
}

// hugepageSizes lists the huge page sizes of the machine as the hugetlb
// controller names them. It is empty where there are none.
func hugepageSizes(root string) []string {
	entries, err := os.ReadDir(filepath.Join(root, "sys/kernel/mm/hugepages"))
	if err != nil {
		return nil
	}
	var sizes []string
	for _, e := range entries {
		if size, ok := hugepageName(e.Name()); ok {
			sizes = append(sizes, size)
		}
	}
	return sizes
}

// hugepageName turns hugepages-2048kB into 2MB, the largest unit below the
// size, as mem_fmt in the kernel's mm/hugetlb_cgroup.c does.
func hugepageName(entry string) (string, bool) {
	var kib uint64
	if n, err := fmt.Sscanf(entry, "hugepages-%dkB", &kib); n != 1 || err != nil || kib == 0 {
		return "", false
	}
	switch {
	case kib >= 1<<20:
		return fmt.Sprintf("%dGB", kib>>20), true
	case kib >= 1<<10:
		return fmt.Sprintf("%dMB", kib>>10), true
	}
	return fmt.Sprintf("%dKB", kib), true
}

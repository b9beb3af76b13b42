package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Unit is the transient systemd scope of a container.
type Unit struct {
	Name  string // libpod-1234.scope
	Slice string // machine.slice
	User  bool   // of the user's systemd, not of the machine's

	properties []property
	path       string // of the scope below the mount point
	dir        string // v2 directory, to check where systemd put the process
}

// property is a property of a unit. since is the first version of systemd that
// knows it: an older one is not asked, as the control files are written as well.
type property struct {
	name  string
	value any
	since int
}

// newUnit reads cgroupsPath in its systemd form, "slice:prefix:name".
func newUnit(h *Host, r Request) (*Unit, error) {
	if !exists(filepath.Join(h.files, "run/systemd/system")) { // sd_booted(3)
		return nil, fmt.Errorf("systemd cgroup: this machine was not booted with systemd")
	}
	if r.Rootless && h.Mode() != V2 {
		return nil, fmt.Errorf("systemd cgroup: without root it needs cgroup v2")
	}
	u := &Unit{Slice: "system.slice", Name: "tare-" + r.ID + ".scope", User: r.Rootless}
	if r.Rootless {
		u.Slice = "user.slice"
	}
	if r.CgroupsPath != "" {
		if err := u.parse(r.CgroupsPath); err != nil {
			return nil, err
		}
	}
	slice, err := slicePath(u.Slice)
	if err != nil {
		return nil, err
	}
	if u.User {
		slice = filepath.Join(userManager(h), slice)
	}
	u.path = filepath.Join(slice, u.Name)
	if h.v2 != nil {
		u.dir = filepath.Join(h.v2.point, u.path)
	}
	return u, u.annotate(r.Annotations)
}

func (u *Unit) parse(path string) error {
	parts := strings.Split(path, ":")
	if len(parts) != 3 || parts[2] == "" {
		return fmt.Errorf("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got %q instead", path)
	}
	if parts[0] != "" {
		u.Slice = parts[0]
	}
	u.Name = parts[2] + ".scope"
	if parts[1] != "" {
		u.Name = parts[1] + "-" + u.Name
	}
	if strings.HasSuffix(parts[2], ".slice") {
		return fmt.Errorf("cgroupsPath %q names a slice, which cannot hold a process", path)
	}
	if strings.Contains(u.Name, "/") {
		return fmt.Errorf("cgroupsPath %q: %q is not a unit name", path, u.Name)
	}
	return nil
}

// slicePath is the directory of a slice: dashes are levels, so that a-b.slice is
// a.slice/a-b.slice (systemd.slice(5)).
func slicePath(slice string) (string, error) {
	name, ok := strings.CutSuffix(slice, ".slice")
	if !ok || name == "" || strings.Contains(name, "/") {
		return "", fmt.Errorf("%q is not a systemd slice", slice)
	}
	if name == "-" {
		return "", nil // the root slice
	}
	var path, prefix string
	for part := range strings.SplitSeq(name, "-") {
		if part == "" {
			return "", fmt.Errorf("%q is not a systemd slice", slice)
		}
		prefix += part
		path = filepath.Join(path, prefix+".slice")
		prefix += "-"
	}
	return path, nil
}

// userManager is the group of the user's systemd below the mount point: the way
// to our own group leads through it, or else it is where systemd puts it.
func userManager(h *Host) string {
	below, _ := under(h.v2.point, h.v2.own)
	path := ""
	for part := range strings.SplitSeq(strings.Trim(below, "/"), "/") {
		path = filepath.Join(path, part)
		if strings.HasPrefix(part, "user@") && strings.HasSuffix(part, ".service") {
			return path
		}
	}
	uid := hostUID(os.Geteuid())
	return fmt.Sprintf("user.slice/user-%d.slice/user@%d.service", uid, uid)
}

// annotationPrefix marks annotations that are properties of the unit, as in runc
// and crun.
const annotationPrefix = "org.systemd.property."

// annotate adds the properties that annotations ask for. Their values are in
// GVariant's text format: "uint64 5".
func (u *Unit) annotate(annotations map[string]string) error {
	var names []string
	for key := range annotations {
		if strings.HasPrefix(key, annotationPrefix) {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	for _, key := range names {
		name := strings.TrimPrefix(key, annotationPrefix)
		if name == "" || strings.Trim(name, letters) != "" {
			return fmt.Errorf("annotation %s: not a property name", key)
		}
		p, err := parseProperty(name, annotations[key])
		if err != nil {
			return fmt.Errorf("annotation %s=%s: %w", key, annotations[key], err)
		}
		u.properties = append(u.properties, p)
	}
	return nil
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

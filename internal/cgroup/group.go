// Package cgroup makes, limits, freezes, reads and removes the control group of
// a container, on cgroup v1, v2, both beside each other, and through systemd.
//
// Only the controllers that are in use get a group, and a limit that this
// machine cannot set is an error, never left out in silence.
//
// Making a group is a Plan, data that the launcher executes; who joins it, and
// when, is the launcher's business. Everything later is done by a Group.
package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Group is the group of one container as it is kept in the container's state.
// The zero Group is that of a container that runs without one.
type Group struct {
	// Paths has the directory of each controller; "" is the v2 directory. On v1
	// controllers that are mounted together share a directory.
	Paths map[string]string `json:"paths,omitempty"`

	Unit     string `json:"unit,omitempty"`     // systemd unit that holds the group
	UserUnit bool   `json:"userUnit,omitempty"` // the unit is the user's systemd's
}

// ErrNoGroup says that the container runs without a control group.
var ErrNoGroup = errors.New("the container has no cgroup")

// unified is the key of the v2 directory in Group.Paths.
const unified = ""

// v2 returns the v2 directory, "" if the group has none.
func (g Group) v2() string { return g.Paths[unified] }

// dirs lists the directories of the group, each once, in a fixed order.
func (g Group) dirs() []string {
	return slices.Compact(slices.Sorted(maps.Values(g.Paths)))
}

// Exists reports whether any directory of the group is there.
func (g Group) Exists() bool {
	return slices.ContainsFunc(g.dirs(), exists)
}

// main is the directory that stands for the whole group: all its processes are
// in it or below it. Processes move themselves in name=systemd most, so that is
// the last choice.
func (g Group) main() (string, error) {
	for _, key := range []string{"freezer", unified, "devices", "pids", "memory", "cpu"} {
		if dir, ok := g.Paths[key]; ok {
			return dir, nil
		}
	}
	for _, key := range slices.Sorted(maps.Keys(g.Paths)) {
		if !strings.HasPrefix(key, "name=") {
			return g.Paths[key], nil
		}
	}
	for _, dir := range g.Paths {
		return dir, nil
	}
	return "", ErrNoGroup
}

// Join says how a new process of the container gets into its group.
type Join struct {
	Tasks []string // v1: files that the child writes "0" to, as Plan.Tasks
	Dir   string   // v2: directory for CLONE_INTO_CGROUP, as Plan.Dir
}

// Join returns how a process joins the group. sub is a group below it, made by
// the container, or "": either a path or, on v1, "controller,...:path" for those
// controllers. init is the container's first process.
//
// On v2 a container may have moved its processes one level down, as systemd
// does: then nobody may be put into its top group any more and the group of the
// first process is the place to be.
func (g Group) Join(sub string, init int) (Join, error) {
	only, path, named := strings.Cut(sub, ":")
	if !named {
		only, path = "", sub
	}
	if path != "" && !filepath.IsLocal(strings.TrimPrefix(path, "/")) {
		return Join{}, fmt.Errorf("sub cgroup %q: not below the container's cgroup", sub)
	}
	chosen := strings.Split(only, ",")
	var j Join
	seen := make(map[string]bool)
	for _, key := range joinOrder(g.Paths) {
		dir := g.Paths[key]
		if seen[dir] {
			continue
		}
		if !named || slices.Contains(chosen, key) {
			dir = filepath.Join(dir, path)
		}
		if key == unified {
			j.Dir = dir
			continue
		}
		seen[g.Paths[key]] = true
		j.Tasks = append(j.Tasks, filepath.Join(dir, "tasks"))
	}
	if sub == "" && j.Dir != "" && readString(j.Dir, "cgroup.subtree_control") != "" {
		dir, err := g.groupOf(init)
		if err != nil {
			return Join{}, err
		}
		j.Dir = dir
	}
	if sub != "" {
		for _, dir := range append(parents(j.Tasks), j.Dir) {
			if dir != "" && !exists(dir) {
				return Join{}, fmt.Errorf("sub cgroup %q: %s: %w", sub, dir, os.ErrNotExist)
			}
		}
	}
	return j, nil
}

// joinOrder sorts controllers for joining: memory last, so that what a process
// sets up before is not charged to the container.
func joinOrder(paths map[string]string) []string {
	keys := slices.Sorted(maps.Keys(paths))
	if i := slices.Index(keys, "memory"); i >= 0 {
		keys = append(slices.Delete(keys, i, i+1), "memory")
	}
	return keys
}

func parents(files []string) []string {
	dirs := make([]string, len(files))
	for i, f := range files {
		dirs[i] = filepath.Dir(f)
	}
	return dirs
}

// groupOf returns the v2 directory that a process of the container is in.
func (g Group) groupOf(pid int) (string, error) {
	h, err := Probe()
	if err != nil {
		return "", err
	}
	text, err := readFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return "", fmt.Errorf("cgroup of process %d: %w", pid, err)
	}
	list, err := parseMembership(string(text))
	if err != nil {
		return "", err
	}
	for _, m := range list {
		if len(m.controllers) > 0 || h.v2 == nil {
			continue
		}
		if below, ok := under(h.v2.root, m.path); ok {
			dir := filepath.Join(h.v2.point, below)
			if dir == g.v2() || strings.HasPrefix(dir, g.v2()+"/") {
				return dir, nil
			}
		}
	}
	return "", fmt.Errorf("process %d is not in the container's cgroup %s", pid, g.v2())
}

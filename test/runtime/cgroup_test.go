package runtimetest

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// hierarchies maps each cgroup v1 controller to where it is mounted; "" is cgroup v2, also in a hybrid.
var hierarchies = sync.OnceValue(func() map[string]string {
	found := map[string]string{}
	b, _ := os.ReadFile("/proc/self/mountinfo")
	for _, line := range strings.Split(string(b), "\n") {
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 3 {
			continue
		}
		switch g[0] {
		case "cgroup2":
			found[""] = f[4]
		case "cgroup":
			for _, option := range strings.Split(g[2], ",") {
				found[option] = f[4]
			}
		}
	}
	return found
})

// cgroupDir is the container's control group for a controller.
func (b *bundle) cgroupDir(controller string) string {
	if unifiedOnly() {
		return filepath.Join("/sys/fs/cgroup", b.Spec.Linux.CgroupsPath)
	}
	return filepath.Join(hierarchies()[controller], b.Spec.Linux.CgroupsPath)
}

// cgroupFile reads a file of the container's control group, without the final newline.
func (b *bundle) cgroupFile(controller, name string) string {
	b.t.Helper()
	path := filepath.Join(b.cgroupDir(controller), name)
	text, err := os.ReadFile(path)
	if err != nil {
		b.t.Errorf("control group: %v", err)
	}
	return strings.TrimSpace(string(text))
}

// cgroupDirs lists the control groups of this container that exist. Where the runtime chose the place,
// they are searched for by the container's name, which no group of anybody else has.
func (b *bundle) cgroupDirs() []string {
	var dirs []string
	path := b.Spec.Linux.CgroupsPath
	for _, mount := range mountPoints() {
		if strings.HasPrefix(path, "/"+b.id) {
			if _, err := os.Stat(filepath.Join(mount, path)); err == nil {
				dirs = append(dirs, filepath.Join(mount, path))
			}
			continue
		}
		named := regexp.MustCompile(`\b` + b.id + `\b`)
		filepath.WalkDir(mount, func(p string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() && named.MatchString(d.Name()) {
				dirs = append(dirs, p)
				return filepath.SkipDir
			}
			return nil
		})
	}
	return dirs
}

// mountPoints lists each hierarchy once.
func mountPoints() []string {
	seen := map[string]bool{}
	var points []string
	for _, m := range hierarchies() {
		if !seen[m] {
			seen[m] = true
			points = append(points, m)
		}
	}
	return points
}

// removeCgroups kills what is inside and removes the directories, children first.
func (b *bundle) removeCgroups() {
	for _, dir := range b.cgroupDirs() {
		var found []string
		filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				found = append(found, p)
			}
			return nil
		})
		for i := len(found) - 1; i >= 0; i-- {
			os.WriteFile(filepath.Join(found[i], "freezer.state"), []byte("THAWED"), 0)
			os.WriteFile(filepath.Join(found[i], "cgroup.freeze"), []byte("0"), 0)
			for try := 0; try < 50 && os.Remove(found[i]) != nil; try++ {
				killAll(cgroupPids(found[i]))
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
}

func cgroupPids(dir string) []int {
	b, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// wantFile compares a file of the control group with what the resources should have made of it.
func (b *bundle) wantFile(t *testing.T, controller, name, want string) {
	t.Helper()
	if got := b.cgroupFile(controller, name); got != want {
		t.Errorf("%s/%s = %q, want %q", controller, name, got, want)
	}
}

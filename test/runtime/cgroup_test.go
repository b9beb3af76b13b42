package runtimetest

import (
	"fmt"
	"os"
	"path/filepath"
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

// cgroupDirs lists the directories that exist for a control group path of a test in any hierarchy.
// Any other path, above all the empty one, which is the root of everything, has none.
func cgroupDirs(path string) []string {
	var dirs []string
	if !strings.Contains(path, fmt.Sprintf("tt%d-", os.Getpid())) {
		return nil
	}
	seen := map[string]bool{}
	for _, mount := range hierarchies() {
		dir := filepath.Join(mount, path)
		if _, err := os.Stat(dir); err == nil && !seen[dir] {
			seen[dir] = true
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// removeCgroups kills what is inside and removes the directories, children first.
func removeCgroups(path string) {
	for _, dir := range cgroupDirs(path) {
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

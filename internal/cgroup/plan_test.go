package cgroup

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// planText shows a plan for comparison, without the root of the fake tree.
func planText(p *Plan, root string) string {
	var lines []string
	for _, s := range p.Steps {
		lines = append(lines, s.String())
	}
	for _, s := range p.Late {
		lines = append(lines, "late: "+s.String())
	}
	for _, file := range p.Tasks {
		lines = append(lines, "join "+file)
	}
	if p.Dir != "" {
		lines = append(lines, "into "+p.Dir)
	}
	if p.Devices != nil {
		lines = append(lines, fmt.Sprintf("devices: %d instructions", len(p.Devices)/8))
	}
	for _, key := range slices.Sorted(maps.Keys(p.Group.Paths)) {
		lines = append(lines, fmt.Sprintf("group %q: %s", key, p.Group.Paths[key]))
	}
	for _, w := range p.Warnings {
		lines = append(lines, "warning: "+w)
	}
	text := strings.ReplaceAll(strings.Join(lines, "\n"), root+"/sys/fs/cgroup", "CG")
	return strings.ReplaceAll(text, root, "")
}

// smallRules is a short list of device rules.
func smallRules() []specs.LinuxDeviceCgroup {
	return []specs.LinuxDeviceCgroup{
		{Access: "rwm"},
		{Allow: true, Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(3)), Access: "rwm"},
	}
}

// planCase is a machine, a request and the plan for it.
type planCase struct {
	name  string
	files map[string]string
	r     Request
	want  string
}

func TestPlan(t *testing.T) {
	for _, test := range slices.Concat(v1PlanCases(), hybridPlanCases(), v2LimitCases(), v2PlaceCases()) {
		t.Run(test.name, func(t *testing.T) {
			h, root := probeTree(t, test.files)
			p, err := NewPlan(h, test.r)
			if err != nil {
				t.Fatalf("NewPlan = %v", err)
			}
			if got, want := planText(p, root), strings.TrimPrefix(test.want, "\n"); got != want {
				t.Errorf("plan:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestPlanErrors(t *testing.T) {
	limit := func(r specs.LinuxResources) Request { return Request{ID: "web", Resources: &r} }
	memory := &specs.LinuxMemory{Limit: ptr(int64(1 << 20))}
	v1 := v1Files("memory", "freezer")
	v2 := v2Files("/")
	tests := []struct {
		name  string
		files map[string]string
		r     Request
		want  string
	}{
		{"controller not on v1", v1, limit(specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(5))}}), "does not have the cgroup controller pids"},
		{"devices not on v1", v1, limit(specs.LinuxResources{Devices: smallRules()}), "controller devices"},
		{"controller not on v2", with(v2, "sys/fs/cgroup/cgroup.controllers", "pids\n"), limit(specs.LinuxResources{Memory: memory}), "controller memory"},
		{"unified on v1", v1, limit(specs.LinuxResources{Unified: map[string]string{"memory.max": "1"}}), "v1 only"},
		{"unified path", v2, limit(specs.LinuxResources{Unified: map[string]string{"../memory.max": "1"}}), "not a file name"},
		{"unified form", v2, limit(specs.LinuxResources{Unified: map[string]string{"memory": "1"}}), "CONTROLLER.PARAMETER"},
		{"unified controller", v2, limit(specs.LinuxResources{Unified: map[string]string{"nothing.max": "1"}}), "controller nothing"},
		{"network class on v2", v2, limit(specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: ptr(uint32(1))}}), "no such setting"},
		{"page size", v2, limit(specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "3MB"}}}), "not a huge page size"},
		{"root as path", v2, Request{ID: "web", CgroupsPath: "/../"}, "root of the hierarchy"},
		{"bad id", v2, Request{ID: "../x"}, "container id"},
		{"not mounted", map[string]string{"proc/self/mountinfo": ""}, limit(specs.LinuxResources{Memory: memory}), "no cgroup file system"},
		{"not empty", with(v1, "sys/fs/cgroup/memory/tare/web/cgroup.procs", "12\n13\n"), limit(specs.LinuxResources{Memory: memory}), "is not empty: 2 processes"},
		{"not empty below", v2Group(v2Group(v2, "/x", "", "", ""), "/x/y", "", "", "9\n"), Request{ID: "web", CgroupsPath: "/x"}, "is not empty: 1 processes"},
		{"frozen on v1", with(v1, "sys/fs/cgroup/freezer/x/freezer.state", "FROZEN\n", "sys/fs/cgroup/freezer/x/cgroup.procs", ""), Request{ID: "web", CgroupsPath: "/x/web"}, "is frozen"},
		{"frozen on v2", with(v2Group(v2, "/x", "", "", ""), "sys/fs/cgroup/x/cgroup.freeze", "1\n"), Request{ID: "web", CgroupsPath: "/x/web"}, "is frozen"},
		{"threaded", with(v2Group(v2, "/x", "", "", ""), "sys/fs/cgroup/x/cgroup.type", "threaded\n"), Request{ID: "web", CgroupsPath: "/x/web"}, `type "threaded"`},
		{"domain invalid", with(v2Group(v2, "/x", "", "", ""), "sys/fs/cgroup/x/cgroup.type", "domain invalid\n"), Request{ID: "web", CgroupsPath: "/x/web"}, `"domain invalid"`},
		{"domain threaded", with(v2Group(v2, "/x", "", "", ""), "sys/fs/cgroup/x/cgroup.type", "domain threaded\n"), Request{ID: "web", CgroupsPath: "/x/web"}, "threaded groups"},
		{"internal processes", v2Group(v2, "/x", v2All, "", "4\n"), Request{ID: "web", CgroupsPath: "/x/web", Resources: &specs.LinuxResources{Memory: memory}}, "it holds processes itself"},
		{"systemd without systemd", v2, Request{ID: "web", Systemd: true}, "not booted with systemd"},
		{"swap without memory", v2, limit(specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr(int64(5))}}), "needs memory.limit"},
		{"no swap accounting", v1Files("freezer", "memory,x"), limit(specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(5)), Swap: ptr(int64(6))}}), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h, root := probeTree(t, test.files)
			if test.name == "no swap accounting" {
				if err := os.Remove(filepath.Join(root, "sys/fs/cgroup/memory,x/memory.memsw.limit_in_bytes")); err != nil {
					t.Fatal(err)
				}
				test.want = "does not account swap"
			}
			_, err := NewPlan(h, test.r)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("NewPlan = %v, want an error with %q", err, test.want)
			}
		})
	}
}

// Statistics alone are not worth an error: a group whose parent holds processes
// gets what is there.
func TestPlanGoesWithoutControllersThatNoLimitNeeds(t *testing.T) {
	h, root := probeTree(t, v2Group(v2Files("/"), "/x", v2All, "", "4\n"))
	p, err := NewPlan(h, Request{ID: "web", CgroupsPath: "/x/web"})
	if err != nil {
		t.Fatal(err)
	}
	if text := planText(p, root); strings.Contains(text, "CG/x/cgroup.subtree_control") {
		t.Errorf("plan enables controllers in a group with processes:\n%s", text)
	}
}

func TestRootlessPlanWithoutPermission(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give it up")
	}
	for name, files := range map[string]map[string]string{"v2": v2Files("/"), "v1": v1Files("freezer", "pids", "devices")} {
		t.Run(name, func(t *testing.T) {
			h, root := probeTree(t, files)
			r := Request{ID: "web", Rootless: true, Resources: &specs.LinuxResources{Devices: smallRules()}}
			asNobody(t, root, func() {
				p, err := NewPlan(h, r)
				if err != nil || len(p.Group.Paths) > 0 || len(p.Steps) > 0 || len(p.Warnings) != 1 {
					t.Errorf("NewPlan = %+v, %v, want a plan without a group and a warning", p, err)
				}
				r.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(4))}
				if _, err := NewPlan(h, r); !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "limit of pids") {
					t.Errorf("NewPlan with a limit = %v, want EACCES and the limit's name", err)
				}
				r.Rootless = false // then the kernel says so, when the steps are executed
				p, err = NewPlan(h, r)
				if err == nil {
					err = Run(p.Steps)
				}
				if !errors.Is(err, unix.EACCES) {
					t.Errorf("a plan of root without permission = %v, want EACCES", err)
				}
			})
		})
	}
}

// A user who was given some controllers cannot have others.
func TestRootlessPlanWithADelegatedGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give it up")
	}
	files := v2Group(v2Group(v2Files("/u/app"), "/u", "memory pids", "memory pids", ""), "/u/app", "memory pids", "", "5\n")
	h, root := probeTree(t, with(files, "sys/fs/cgroup/cgroup.subtree_control", "memory pids\n"))
	if err := os.Chown(filepath.Join(root, "sys/fs/cgroup/u"), nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if !h.Delegated() {
		t.Error("Delegated() = false for root")
	}
	r := Request{ID: "web", Rootless: true, Resources: &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(4))}}}
	asNobody(t, root, func() {
		if !h.Delegated() {
			t.Error("Delegated() = false")
		}
		p, err := NewPlan(h, r)
		if err != nil {
			t.Fatalf("NewPlan = %v", err)
		}
		if got, want := p.Dir, root+"/sys/fs/cgroup/u/tare/web"; got != want {
			t.Errorf("Dir = %s, want %s", got, want)
		}
		r.Resources.CPU = &specs.LinuxCPU{Cpus: "0"}
		if _, err := NewPlan(h, r); !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "enable cgroup controller cpuset") {
			t.Errorf("NewPlan with a controller that is not ours = %v, want EACCES", err)
		}
	})
}

const nobody = 65534

// asNobody runs f on a thread without any right, which ends with it. root is
// made accessible to it.
func asNobody(t *testing.T, root string, f func()) {
	t.Helper()
	for dir := root; dir != "/"; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o055 != 0o055 {
			if err := os.Chmod(dir, info.Mode().Perm()|0o055); err != nil {
				t.Fatal(err)
			}
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread is no good to others
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			t.Errorf("setresuid: %v", errno)
			return
		}
		f()
	}()
	<-done
}

func TestGroupSurvivesJSON(t *testing.T) {
	g := Group{Paths: map[string]string{"": "/a", "memory": "/b"}, Unit: "x.scope", UserUnit: true}
	b, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	var back Group
	if err := json.Unmarshal(b, &back); err != nil || !maps.Equal(back.Paths, g.Paths) || back.Unit != g.Unit || !back.UserUnit {
		t.Errorf("%s came back as %+v, %v", b, back, err)
	}
}

func TestStepDo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "there")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	missing := Step{Kind: Write, Path: filepath.Join(dir, "missing"), Value: "1"}
	fallback := missing
	fallback.Else = &Step{Kind: Write, Path: file, Value: "2"}
	optional := missing
	optional.Optional = true
	tests := []struct {
		name string
		step Step
		want error
	}{
		{"mkdir of what is there", Step{Kind: Mkdir, Path: dir}, nil},
		{"mkdir of what must be new", Step{Kind: Mkdir, Path: dir, MustBeNew: true}, unix.EEXIST},
		{"write to nothing", missing, unix.ENOENT},
		{"optional", optional, nil},
		{"fallback", fallback, nil},
		{"chown", Step{Kind: Chown, Path: file, UID: os.Getuid()}, nil},
		{"chown of nothing", Step{Kind: Chown, Path: missing.Path, UID: os.Getuid()}, unix.ENOENT},
	}
	for _, test := range tests {
		if err := test.step.Do(); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: Do = %v, want %v", test.name, err, test.want)
		}
	}
	if b, _ := os.ReadFile(file); string(b) != "2" {
		t.Errorf("fallback wrote %q", b)
	}
	if exists(missing.Path) {
		t.Error("a write made a file")
	}
}

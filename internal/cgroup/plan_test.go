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

func TestPlan(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		r     Request
		want  string
	}{
		{
			name:  "v1 makes only what is used",
			files: v1Files("cpu", "cpuset", "memory", "devices", "freezer", "pids", "name=systemd"),
			r: Request{ID: "web", Resources: &specs.LinuxResources{
				Pids:    &specs.LinuxPids{Limit: ptr(int64(20))},
				Devices: smallRules(),
				Memory:  &specs.LinuxMemory{Limit: ptr(int64(1 << 20)), Swap: ptr(int64(1 << 20))},
			}},
			want: `
mkdir CG/memory/tare
mkdir CG/memory/tare/web (must be new)
write "1048576" to CG/memory/tare/web/memory.limit_in_bytes
write "1048576" to CG/memory/tare/web/memory.memsw.limit_in_bytes
mkdir CG/devices/tare
mkdir CG/devices/tare/web (must be new)
write "a" to CG/devices/tare/web/devices.deny
write "c 1:3 rwm" to CG/devices/tare/web/devices.allow
mkdir CG/freezer/tare
mkdir CG/freezer/tare/web (must be new)
mkdir CG/pids/tare
mkdir CG/pids/tare/web (must be new)
write "20" to CG/pids/tare/web/pids.max
join CG/devices/tare/web/tasks
join CG/freezer/tare/web/tasks
join CG/pids/tare/web/tasks
join CG/memory/tare/web/tasks
group "devices": CG/devices/tare/web
group "freezer": CG/freezer/tare/web
group "memory": CG/memory/tare/web
group "pids": CG/pids/tare/web`,
		},
		{
			name:  "v1 with a path makes all, and fills cpuset",
			files: v1Files("cpu,cpuacct", "cpuset", "net_cls,net_prio", "memory", "freezer", "name=systemd", "name=other"),
			r: Request{ID: "web", CgroupsPath: "/pod/web", Resources: &specs.LinuxResources{
				CPU: &specs.LinuxCPU{Cpus: "1-2"},
			}},
			want: `
mkdir CG/cpu,cpuacct/pod
mkdir CG/cpu,cpuacct/pod/web (must be new)
mkdir CG/cpuset/pod
mkdir CG/cpuset/pod/web (must be new)
write "0-3" to CG/cpuset/pod/cpuset.cpus
write "0" to CG/cpuset/pod/cpuset.mems
write "0" to CG/cpuset/pod/web/cpuset.mems
write "1-2" to CG/cpuset/pod/web/cpuset.cpus
mkdir CG/net_cls,net_prio/pod
mkdir CG/net_cls,net_prio/pod/web (must be new)
mkdir CG/memory/pod
mkdir CG/memory/pod/web (must be new)
mkdir CG/freezer/pod
mkdir CG/freezer/pod/web (must be new)
mkdir CG/systemd/pod
mkdir CG/systemd/pod/web (must be new)
join CG/cpu,cpuacct/pod/web/tasks
join CG/cpuset/pod/web/tasks
join CG/net_cls,net_prio/pod/web/tasks
join CG/freezer/pod/web/tasks
join CG/systemd/pod/web/tasks
join CG/memory/pod/web/tasks
group "cpu": CG/cpu,cpuacct/pod/web
group "cpuacct": CG/cpu,cpuacct/pod/web
group "cpuset": CG/cpuset/pod/web
group "freezer": CG/freezer/pod/web
group "memory": CG/memory/pod/web
group "name=systemd": CG/systemd/pod/web
group "net_cls": CG/net_cls,net_prio/pod/web
group "net_prio": CG/net_cls,net_prio/pod/web`,
		},
		{
			name: "v1 goes into an old, empty group",
			files: with(v1Files("cpu", "freezer"), "sys/fs/cgroup/cpu/old/web/cgroup.procs", "",
				"sys/fs/cgroup/freezer/old/web/cgroup.procs", "", "sys/fs/cgroup/freezer/old/web/freezer.state", "THAWED\n"),
			r: Request{ID: "web", CgroupsPath: "/old/web", Resources: &specs.LinuxResources{
				CPU: &specs.LinuxCPU{Quota: ptr(int64(20000)), Period: ptr(uint64(50000))},
			}},
			want: `
mkdir CG/cpu/old
mkdir CG/cpu/old/web
write "-1" to CG/cpu/old/web/cpu.cfs_quota_us
write "50000" to CG/cpu/old/web/cpu.cfs_period_us
write "20000" to CG/cpu/old/web/cpu.cfs_quota_us
mkdir CG/freezer/old
mkdir CG/freezer/old/web
join CG/cpu/old/web/tasks
join CG/freezer/old/web/tasks
group "cpu": CG/cpu/old/web
group "freezer": CG/freezer/old/web`,
		},
		{
			name:  "hybrid uses v2 for what v1 does not have",
			files: hybridFiles([]string{"cpu", "name=systemd"}, "memory pids"),
			r: Request{ID: "web", CgroupsPath: "a", Resources: &specs.LinuxResources{
				Devices: smallRules(),
				Memory:  &specs.LinuxMemory{Limit: ptr(int64(1 << 20))},
				CPU:     &specs.LinuxCPU{Shares: ptr(uint64(512))},
			}},
			want: `
mkdir CG/cpu/a (must be new)
write "512" to CG/cpu/a/cpu.shares
mkdir CG/systemd/a (must be new)
write "+memory" to CG/unified/cgroup.subtree_control
write "+pids" to CG/unified/cgroup.subtree_control (optional)
mkdir CG/unified/a (must be new)
write "1048576" to CG/unified/a/memory.max
join CG/cpu/a/tasks
join CG/systemd/a/tasks
into CG/unified/a
devices: 13 instructions
group "": CG/unified/a
group "cpu": CG/cpu/a
group "name=systemd": CG/systemd/a`,
		},
		{
			name:  "hybrid leaves an idle v2 hierarchy alone",
			files: hybridFiles([]string{"cpu", "freezer"}, ""),
			r:     Request{ID: "web"},
			want: `
mkdir CG/freezer/tare
mkdir CG/freezer/tare/web (must be new)
join CG/freezer/tare/web/tasks
group "freezer": CG/freezer/tare/web`,
		},
		{
			name:  "v2 hands down what limits need",
			files: v2Files("/"),
			r: Request{ID: "web", Resources: &specs.LinuxResources{
				Pids:    &specs.LinuxPids{Limit: ptr(int64(0))},
				Memory:  &specs.LinuxMemory{Limit: ptr(int64(1 << 20)), Swap: ptr(int64(3 << 20)), Kernel: ptr(int64(9))},
				Unified: map[string]string{"memory.high": "900000", "io.max": "8:0 rbps=1\n8:16 rbps=2\n"},
			}},
			want: `
write "+io" to CG/cgroup.subtree_control
write "+memory" to CG/cgroup.subtree_control
write "+pids" to CG/cgroup.subtree_control
mkdir CG/tare
write "+io" to CG/tare/cgroup.subtree_control
write "+memory" to CG/tare/cgroup.subtree_control
write "+pids" to CG/tare/cgroup.subtree_control
mkdir CG/tare/web (must be new)
write "2097152" to CG/tare/web/memory.swap.max
write "1048576" to CG/tare/web/memory.max
write "8:0 rbps=1" to CG/tare/web/io.max
write "8:16 rbps=2" to CG/tare/web/io.max
write "900000" to CG/tare/web/memory.high
late: write "0" to CG/tare/web/pids.max
into CG/tare/web
group "": CG/tare/web
warning: memory.kernel is ignored: cgroup v2 does not limit kernel memory apart`,
		},
		{
			name: "v2 beside our own group, which holds us",
			files: v2Group(v2Group(v2Files("/user.slice/app.scope"), "/user.slice", v2All, "memory pids", ""),
				"/user.slice/app.scope", "memory pids", "", "7\n"),
			r: Request{ID: "web", Resources: &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(-1))}}},
			want: `
write "+pids" to CG/cgroup.subtree_control
mkdir CG/user.slice
mkdir CG/user.slice/tare
write "+pids" to CG/user.slice/tare/cgroup.subtree_control
mkdir CG/user.slice/tare/web (must be new)
write "max" to CG/user.slice/tare/web/pids.max
into CG/user.slice/tare/web
group "": CG/user.slice/tare/web`,
		},
		{
			name: "v2 with a path hands down everything, where it can",
			files: with(v2Group(v2Files("/"), "/pod", "memory", "memory", ""),
				"sys/fs/cgroup/cgroup.controllers", "memory pids\n", "sys/fs/cgroup/cgroup.subtree_control", "memory\n"),
			r: Request{ID: "web", CgroupsPath: "/pod/../pod/web"},
			want: `
write "+pids" to CG/cgroup.subtree_control (optional)
mkdir CG/pod
write "+pids" to CG/pod/cgroup.subtree_control (optional)
mkdir CG/pod/web (must be new)
into CG/pod/web
group "": CG/pod/web`,
		},
		{
			name: "v2 given to the container's root",
			files: with(v2Files("/"), "sys/kernel/cgroup/delegate", "cgroup.procs\nmemory.oom.group\n",
				"sys/fs/cgroup/cgroup.controllers", "\n"),
			r: Request{ID: "web", CgroupsPath: "/web", OwnerUID: ptr(1000)},
			want: `
mkdir CG/web (must be new)
chown 1000 CG/web
chown 1000 CG/web/cgroup.procs (optional)
chown 1000 CG/web/memory.oom.group (optional)
into CG/web
group "": CG/web`,
		},
		{
			name:  "rootless has no device rules",
			files: with(v2Files("/"), "sys/fs/cgroup/cgroup.controllers", "\n"),
			r:     Request{ID: "web", CgroupsPath: "/web", Rootless: true, Resources: &specs.LinuxResources{Devices: smallRules()}},
			want: `
mkdir CG/web (must be new)
into CG/web
group "": CG/web
warning: device rules are not applied: only root may set them`,
		},
		{
			name:  "no cgroups at all",
			files: map[string]string{"proc/self/mountinfo": "", "proc/self/cgroup": ""},
			r:     Request{ID: "web", Resources: &specs.LinuxResources{Devices: smallRules()}},
			want: `
warning: the container runs without a cgroup: no cgroup file system is mounted`,
		},
	}
	for _, test := range tests {
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
				r.Rootless = false
				if _, err := NewPlan(h, r); !errors.Is(err, unix.EACCES) {
					t.Errorf("NewPlan of root without permission = %v, want EACCES", err)
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

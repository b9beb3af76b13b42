package program

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cgroup"
	"tare.dev/tare/internal/host"
	"tare.dev/tare/internal/seccomp"
	"tare.dev/tare/internal/sysprog"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// modern is a kernel that has everything.
func modern() host.Facts {
	return host.Facts{
		Major: 6, Minor: 18, Clone3: true, ClearSighand: true, IntoCgroup: true, Pidfd: true, PidfdSetns: true,
		MountAPI: true, Openat2: true, MountSetattr: true, CloseRange: true, CloneTree: true, TimeNS: true, CgroupNS: true,
		UserNS: true, ExitInfo: true, LastCap: 40, Caps: 1<<41 - 1,
	}
}

const plainSpec = `{
	"ociVersion": "1.3.0",
	"process": {
		"user": {"uid": 1000, "gid": 1000, "additionalGids": [5]}, "args": ["sh", "-c", "true"], "cwd": "/work",
		"env": ["PATH=/usr/bin:/bin", "HOME=/home", "HOME=/"], "noNewPrivileges": true,
		"capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"]},
		"rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512}]
	},
	"root": {"path": "rootfs", "readonly": true},
	"hostname": "box",
	"mounts": [
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"]},
		{"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance"]},
		{"destination": "/data", "type": "bind", "source": "data", "options": ["rbind", "ro", "rprivate"]}
	],
	"linux": {
		"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}, {"type": "cgroup"}],
		"maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
		"sysctl": {"net.ipv4.ip_forward": "1"}
	}
}`

// input is plainSpec with overlay's JSON put over it.
func input(t testing.TB, facts host.Facts, overlay string) *Input {
	t.Helper()
	var s specs.Spec
	for _, text := range []string{plainSpec, overlay} {
		if text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
	}
	in := &Input{
		Spec: &s, ID: "box", Bundle: "/bundle", Rootfs: "/bundle/rootfs", Facts: facts, StateDir: "/run/box",
		Cgroup: &cgroup.Plan{
			Steps: []cgroup.Step{
				{Kind: cgroup.Mkdir, Path: "/sys/fs/cgroup/tare"},
				{Kind: cgroup.Mkdir, Path: "/sys/fs/cgroup/tare/box", MustBeNew: true},
				{Kind: cgroup.Write, Path: "/sys/fs/cgroup/tare/box/memory.max", Value: "1048576"},
			},
			Dir: "/sys/fs/cgroup/tare/box",
		},
		CgroupMounts: []cgroup.Mount{{Mountpoint: "/sys/fs/cgroup", Root: "/", V2: true}}, CgroupV2: true,
		Stdio:  [3]int{0, 1, 2},
		GateFD: 20, GateParentFD: 21, ConsoleFD: 22, ListenerFD: 23, HookStateFD: 24,
	}
	in.Fork = NeedsFork(in)
	return in
}

// monitor is one whose memory is that of no CPU.
func monitor() *Monitor {
	return &Monitor{
		FD: 8, Entry: 0x7000, Close: []int{3, 20, 21},
		Spans: []sysprog.Span{{To: 0x1000}, {From: 0x2000, To: 0x5000}},
		Tails: []sysprog.Span{{From: 0x8000, To: 0xf000}, {From: 0x8000, To: 0xc000}},
	}
}

func filter(t testing.TB) *seccomp.Filter {
	t.Helper()
	return &seccomp.Filter{Prog: []unix.SockFilter{{Code: 6, K: 0x7fff0000}}}
}

func startCases(t *testing.T) map[string]*Input {
	cases := map[string]*Input{
		"run":      input(t, modern(), ""),
		"run-6.1":  input(t, modern().Limit(6, 1), ""),
		"run-5.10": input(t, modern().Limit(5, 10), ""),
		"run-5.4":  input(t, modern().Limit(5, 4), ""),
		"run-4.19": input(t, modern().Limit(4, 19), ""),
		"terminal": input(t, modern(), `{"process": {"terminal": true, "consoleSize": {"height": 24, "width": 80}, "args": ["/bin/sh"], "cwd": "/"}}`),
		"user-namespace": input(t, modern(), `{"linux": {"namespaces": [{"type": "user"}, {"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "network"}],
			"uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}], "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}]}}`),
		"hooks": input(t, modern(), `{"hooks": {"createRuntime": [{"path": "/bin/a"}], "createContainer": [{"path": "/bin/b", "args": ["b", "1"], "timeout": 5}],
			"startContainer": [{"path": "/bin/c", "env": ["A=B"]}]}}`),
		"joined": input(t, modern(), `{"linux": {"namespaces": [{"type": "pid", "path": "/proc/7/ns/pid"}, {"type": "network", "path": "/run/netns/x"},
			{"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]}}`),
		"settings": input(t, modern(), `{"process": {"cwd": "/", "args": ["/bin/true"], "oomScoreAdj": 100, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3},
			"scheduler": {"policy": "SCHED_BATCH", "nice": 5}, "user": {"uid": 0, "gid": 0, "umask": 63}},
			"domainname": "example", "linux": {"personality": {"domain": "LINUX32"}, "rootfsPropagation": "shared",
			"timeOffsets": {"monotonic": {"secs": 10}}, "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "network"}, {"type": "time"}],
			"devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 432, "uid": 1, "gid": 2}]}}`),
	}
	parents := input(t, modern(), `{"linux": {"namespaces": [{"type": "pid", "path": "/proc/7/ns/pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "network"}]}}`)
	parents.Parent = true
	cases["parent"] = parents
	create := input(t, modern(), "")
	create.Wait, create.Fork = true, true
	cases["create"] = create
	for name, facts := range map[string]host.Facts{"monitored": modern().Limit(6, 1), "monitored-4.19": modern().Limit(4, 19)} {
		in := input(t, facts, "")
		in.Monitor = monitor()
		in.Wait, in.Fork = true, true
		cases[name] = in
	}
	sec := input(t, modern(), `{"process": {"noNewPrivileges": false, "args": ["/bin/true"], "cwd": "/"}}`)
	sec.Seccomp = filter(t)
	cases["seccomp"] = sec
	v1 := input(t, modern(), `{"mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "ro"]}]}`)
	v1.CgroupV2 = false
	v1.CgroupMounts = []cgroup.Mount{
		{Controllers: []string{"cpu", "cpuacct"}, Mountpoint: "/sys/fs/cgroup/cpu,cpuacct", Root: "/"},
		{Controllers: []string{"memory"}, Mountpoint: "/sys/fs/cgroup/memory", Root: "/"},
	}
	v1.Cgroup = &cgroup.Plan{
		Steps: []cgroup.Step{{Kind: cgroup.Mkdir, Path: "/sys/fs/cgroup/memory/box", MustBeNew: true}},
		Tasks: []string{"/sys/fs/cgroup/cpu,cpuacct/box/tasks", "/sys/fs/cgroup/memory/box/tasks"},
	}
	cases["cgroup-v1"] = v1
	return cases
}

func TestStartsAreGolden(t *testing.T) {
	for name, in := range startCases(t) {
		t.Run(name, func(t *testing.T) {
			p, err := Compile(in)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, p.List)
		})
	}
}

func TestMonitorIsGolden(t *testing.T) { golden(t, "monitor", CompileMonitor(8)) }

func TestStoredStartsAreGolden(t *testing.T) {
	r := Replay{
		Args: []string{"tare", "run"}, Cwd: "/", Files: []File{{Name: "state.json", Data: []byte("{}")}},
		Watches: []Watch{{Path: "/bundle/config.json", Stat: &unix.Statx_t{Ino: 7}}, {Path: "/bundle/rootfs/etc/passwd"}},
	}
	for name, wait := range map[string]bool{"stored-run": false, "stored-create": true} {
		in := input(t, modern(), "")
		in.Wait, in.Fork = wait, wait
		if !Replayable(in) {
			t.Fatalf("%s: not replayable", name)
		}
		p, err := CompileReplay(in, &r)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, p.List)
	}
	c := ReplayControl{Replay: Replay{Args: []string{"tare", "start"}}, StateDir: "/run/box", Plain: "/run/box/plain", Dirs: []string{"/sys/fs/cgroup/tare/box"}, Names: []string{"state.json"}}
	golden(t, "stored-start", CompileReplayStart(&c))
	golden(t, "stored-delete", CompileReplayDelete(&c))
}

func TestExecsAreGolden(t *testing.T) {
	for name, facts := range map[string]host.Facts{"exec": modern(), "exec-5.4": modern().Limit(5, 4)} {
		in := input(t, facts, "")
		e := &ExecInput{
			ID: "box", Process: in.Spec.Process, Linux: in.Spec.Linux, Facts: facts, Root: "/proc/7/root", InitFD: 30,
			Namespaces:   unix.CLONE_NEWNS | unix.CLONE_NEWPID,
			NamespaceFDs: map[uintptr]int{unix.CLONE_NEWNS: 31, unix.CLONE_NEWPID: 32},
			Join:         cgroup.Join{Dir: "/sys/fs/cgroup/tare/box"}, Stdio: [3]int{0, 1, 2}, GateFD: -1, GateParentFD: -1, ConsoleFD: -1, ListenerFD: -1,
		}
		p, err := CompileExec(e)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, p.List)
		if name != "exec" {
			continue
		}
		e.Join.Tasks = []string{"/sys/fs/cgroup/freezer/tare/box/tasks", "/sys/fs/cgroup/memory/tare/box/tasks"}
		e.Stdio, e.Open = [3]int{9, 10, 10}, &ExecFiles{PIDNamespace: 20, Tasks: []int{21, 22}}
		if p, err = CompileExec(e); err != nil {
			t.Fatal(err)
		}
		golden(t, "exec-kept", p.List)
	}
}

// golden compares a list's text with its file, and makes sure that it assembles.
func golden(t *testing.T, name string, l *sysprog.List) {
	t.Helper()
	if _, err := sysprog.Assemble(l, sysprog.Base); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	path := filepath.Join("testdata", name+".txt")
	got := l.Text()
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if sysprog.WordSize == 8 && got != string(want) {
		t.Errorf("%s differs from %s; go test -update rewrites it, git diff shows what has changed:\n%s", name, path, got)
	}
}

func TestCompileIsPure(t *testing.T) {
	a, err := Compile(input(t, modern(), ""))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Compile(input(t, modern(), ""))
	if err != nil || a.Text() != b.Text() {
		t.Errorf("two compilations of the same input differ (%v)", err)
	}
}

func TestSpecsThatAreRefused(t *testing.T) {
	for name, overlay := range map[string]string{
		"no arguments":          `{"process": {"args": []}}`,
		"relative cwd":          `{"process": {"cwd": "work"}}`,
		"unknown limit":         `{"process": {"rlimits": [{"type": "RLIMIT_NONE", "hard": 1, "soft": 1}]}}`,
		"soft above hard":       `{"process": {"rlimits": [{"type": "RLIMIT_CPU", "hard": 1, "soft": 2}]}}`,
		"sysctl of the host":    `{"linux": {"sysctl": {"kernel.panic": "1"}}}`,
		"sysctl that climbs":    `{"linux": {"sysctl": {"net/../kernel/panic": "1"}}}`,
		"unknown namespace":     `{"linux": {"namespaces": [{"type": "moon"}]}}`,
		"namespace twice":       `{"linux": {"namespaces": [{"type": "pid"}, {"type": "pid"}]}}`,
		"maps without user ns":  `{"linux": {"uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}}`,
		"unknown propagation":   `{"linux": {"rootfsPropagation": "sideways"}}`,
		"mount on the root":     `{"mounts": [{"destination": "/", "type": "tmpfs"}]}`,
		"bind without source":   `{"mounts": [{"destination": "/a", "type": "bind", "source": ""}]}`,
		"unknown version":       `{"ociVersion": "2.0.0"}`,
		"relative hook":         `{"hooks": {"poststop": [{"path": "bin/x"}]}}`,
		"AppArmor without one":  `{"process": {"apparmorProfile": "x"}}`,
		"unknown scheduler":     `{"process": {"scheduler": {"policy": "SCHED_NONE"}}}`,
		"unknown personality":   `{"linux": {"personality": {"domain": "BSD"}}}`,
		"environment, no value": `{"process": {"env": ["A"]}}`,
	} {
		if _, err := Compile(input(t, modern(), overlay)); err == nil {
			t.Errorf("%s: Compile took %s", name, overlay)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add([]byte(plainSpec), uint8(0))
	f.Add([]byte(plainSpec), uint8(128))
	f.Add([]byte(`{"ociVersion":"1.0.0","process":{"args":["a"],"cwd":"/"},"root":{"path":"r"}}`), uint8(1))
	kernels := [][2]int{{6, 18}, {6, 1}, {5, 10}, {5, 4}, {4, 19}}
	f.Fuzz(func(t *testing.T, text []byte, kernel uint8) {
		var s specs.Spec
		if json.Unmarshal(text, &s) != nil {
			return
		}
		v := kernels[int(kernel)%len(kernels)]
		in := input(t, modern().Limit(v[0], v[1]), "")
		in.Spec = &s
		in.Fork = true
		if kernel >= 128 {
			in.Monitor = monitor()
		}
		p, err := Compile(in)
		if err != nil {
			return
		}
		if _, err := sysprog.Assemble(p.List, sysprog.Base); err != nil {
			t.Logf("assemble: %v", err) // a NUL byte in a string, say: an error, never a panic
		}
	})
}

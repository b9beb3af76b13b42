package runtimetest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// programCases are the ways a program cannot be executed. dockerd finds these words in the error,
// in lower case and beside the program's name, and makes exit status 127 or 126 of them.
var programCases = []struct {
	name, program, says string
	prepare             func(t *testing.T, root string)
}{
	{"missing from PATH", "no-such-program", `exec: "no-such-program": executable file not found in $PATH`, nil},
	{"missing path", "/bin/no-such", "no such file or directory", nil},
	{"not executable", "/bin/plain", "permission denied", func(t *testing.T, root string) {
		mustWrite(t, filepath.Join(root, "bin/plain"), "text")
	}},
	{"directory", "/bin", "permission denied|is a directory", nil},
	{"interpreter missing", "/bin/script", "no such file or directory", func(t *testing.T, root string) {
		must(t, os.WriteFile(filepath.Join(root, "bin/script"), []byte("#!/bin/no-such-interpreter\n"), 0o755))
	}},
	{"no format", "/bin/garbage", "exec format error", func(t *testing.T, root string) {
		must(t, os.WriteFile(filepath.Join(root, "bin/garbage"), []byte("\x01\x02garbage"), 0o755))
	}},
	{"below a file", "/etc/passwd/x", "not a directory", nil},
	{"link to nothing", "/bin/dangling", "no such file or directory", func(t *testing.T, root string) {
		must(t, os.Symlink("/nowhere", filepath.Join(root, "bin/dangling")))
	}},
	{"link in a circle", "/bin/circle", "too many levels of symbolic links", func(t *testing.T, root string) {
		must(t, os.Symlink("circle", filepath.Join(root, "bin/circle")))
	}},
}

// saysOneOf looks for any of the alternatives, separated by "|", and for the program's name.
func saysOneOf(t *testing.T, text, program, alternatives string) {
	t.Helper()
	found := false
	text = strings.ReplaceAll(text, `\"`, `"`) // in a log line it is quoted
	for _, a := range strings.Split(alternatives, "|") {
		found = found || strings.Contains(text, a)
	}
	if !found || !strings.Contains(text, program) {
		t.Errorf("the error %q names neither %s nor says %s", text, program, alternatives)
	}
}

func TestRunNamesWhyTheProgramCannotRun(t *testing.T) {
	t.Parallel()
	peerLacks(t, "has words of its own", "crun")
	for _, c := range programCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t)
			if c.prepare != nil {
				c.prepare(t, b.rootfs())
			}
			b.Spec.Process.Args = []string{c.program}
			r := b.run()
			wantRefusal(t, r)
			saysOneOf(t, r.stderr, c.program, c.says)
		})
	}
}

// containerd reads the last line of the log, and creates and starts in two steps.
func TestCreateOrStartNamesWhyTheProgramCannotRun(t *testing.T) {
	t.Parallel()
	peerLacks(t, "has words of its own", "crun")
	for _, c := range programCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t)
			if c.prepare != nil {
				c.prepare(t, b.rootfs())
			}
			b.Spec.Process.Args = []string{c.program}
			log := b.path("log.json")
			b.global = []string{"--log", log, "--log-format", "json"}
			r := b.tryCreate()
			if r.code == 0 {
				if c.name == "interpreter missing" || c.name == "no format" {
					peerLacks(t, "start does not see execve fail", "runc")
				}
				r = b.cli("start", b.id)
			}
			if r.code == 0 {
				t.Fatalf("neither create nor start failed: %v", r)
			}
			saysOneOf(t, lastError(t, log), c.program, c.says)
		})
	}
}

func TestExecNamesWhyTheProgramCannotRun(t *testing.T) {
	t.Parallel()
	peerLacks(t, "has words of its own", "crun")
	b := newBundle(t, "sleep", "60")
	for _, c := range programCases {
		if c.prepare != nil {
			c.prepare(t, b.rootfs())
		}
	}
	b.up()
	for _, c := range programCases {
		r := b.exec(c.program)
		wantRefusal(t, r)
		saysOneOf(t, r.stderr, c.program, c.says)
	}
	if got := b.status(); got != specs.StateRunning {
		t.Errorf("failed execs left the container %s", got)
	}
}

// lastError is the message of the last error in a log in runc's JSON format.
func lastError(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	last := ""
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if line == "" {
			continue
		}
		var entry struct{ Level, Msg, Time string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if entry.Time == "" {
			t.Errorf("log line %q has no time", line)
		}
		if entry.Level == "error" {
			last = entry.Msg
		}
	}
	if last == "" {
		t.Errorf("no error in the log: %s", text)
	}
	return last
}

func TestLogGoesWhereItIsTold(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo")
	jsonLog, textLog := b.path("log.json"), b.path("log.txt")
	b.global = []string{"--log", jsonLog, "--log-format", "json"}
	r := b.cli("state", b.id)
	if r.code == 0 || lastError(t, jsonLog) == "" {
		t.Errorf("want an error in %s: %v", jsonLog, r)
	}
	b.global = []string{"--log", textLog, "--log-format", "text"}
	b.cli("state", b.id)
	text, err := os.ReadFile(textLog)
	if err != nil || !strings.Contains(string(text), b.id) && !strings.Contains(string(text), "not exist") {
		t.Errorf("text log %q, %v", text, err)
	}
	b.global = nil
	b.refused(nil, "--log-format", "yaml", "state", b.id)
	peerLacks(t, "says nothing at --debug", "crun")
	debugLog := b.path("debug.txt")
	b.global = []string{"--debug", "--log", debugLog}
	b.mustRun()
	if st, err := os.Stat(debugLog); err != nil || st.Size() == 0 {
		t.Errorf("--debug left nothing in the log: %v", err)
	}
}

func TestBadBundlesAreRefused(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		edit func(b *bundle)
		says string
	}{
		{"missing bundle", func(b *bundle) { os.RemoveAll(b.dir) }, ""},
		{"no config", func(b *bundle) { os.Remove(filepath.Join(b.dir, "config.json")) }, "config.json"},
		{"not JSON", func(b *bundle) { mustWrite(b.t, filepath.Join(b.dir, "config.json"), "{") }, ""},
		{"wrong type", func(b *bundle) {
			mustWrite(b.t, filepath.Join(b.dir, "config.json"), `{"ociVersion":"1.0.2","process":[]}`)
		}, ""},
		{"not an object", func(b *bundle) { mustWrite(b.t, filepath.Join(b.dir, "config.json"), `"text"`) }, ""},
		{"missing rootfs", func(b *bundle) { os.RemoveAll(b.rootfs()) }, ""},
		{"config is a directory", func(b *bundle) {
			os.Remove(filepath.Join(b.dir, "config.json"))
			mustMkdir(b.t, filepath.Join(b.dir, "config.json"))
		}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t, "echo")
			b.write()
			c.edit(b)
			for _, command := range []string{"create", "run"} {
				wantRefusal(t, b.cli(command, "--bundle", b.dir, b.id), strings.Fields(c.says)...)
			}
			for _, l := range b.leftovers() {
				t.Errorf("left %s", l)
			}
		})
	}
}

// badConfigurations contradict the specification or ask for what no kernel has.
func badConfigurations() map[string]func(s *specs.Spec) {
	two := []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.PIDNamespace}}
	limit := specs.POSIXRlimit{Type: "RLIMIT_CORE", Soft: 1, Hard: 1}
	return map[string]func(s *specs.Spec){
		"duplicate namespace": func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces, two...) },
		"unknown namespace":   func(s *specs.Spec) { s.Linux.Namespaces[0].Type = "nonsense" },
		"namespace path":      func(s *specs.Spec) { s.Linux.Namespaces[1].Path = "/nowhere" },
		"namespace of a type": func(s *specs.Spec) { s.Linux.Namespaces[1].Path = "/proc/self/ns/uts" },
		"no arguments":        func(s *specs.Spec) { s.Process.Args = nil },
		"relative cwd":        func(s *specs.Spec) { s.Process.Cwd = "tmp" },
		"no cwd":              func(s *specs.Spec) { s.Process.Cwd = "" },
		"no root":             func(s *specs.Spec) { s.Root = nil },
		"unknown rlimit":      func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NONSENSE"}} },
		"duplicate rlimit":    func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{limit, limit} },
		"soft over hard":      func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 2, Hard: 1}} },
		"device type":         func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "z"}} },
		"file system type":    func(s *specs.Spec) { s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "nonsense"}) },
		"bind source":         func(s *specs.Spec) { s.Mounts = append(s.Mounts, bindOf("/nowhere", "/data")) },
		"seccomp action":      func(s *specs.Spec) { s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_NONSENSE"} },
		"root propagation":    func(s *specs.Spec) { s.Linux.RootfsPropagation = "nonsense" },
		"sysctl of the host":  func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"vm.swappiness": "60"} },
		"sysctl without ns": func(s *specs.Spec) {
			s.Linux.Namespaces = s.Linux.Namespaces[4:5]
			s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
		},
		"hostname without uts":  func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[4:5]; s.Linux.MaskedPaths = nil },
		"hook path":             func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "relative"}}} },
		"offset without time":   func(s *specs.Spec) { s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1}} },
		"scheduler policy":      func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_NONSENSE"} },
		"I/O class":             func(s *specs.Spec) { s.Process.IOPriority = &specs.LinuxIOPriority{Class: "NONSENSE"} },
		"personality":           func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: "NONSENSE"} },
		"apparmor not there":    func(s *specs.Spec) { s.Process.ApparmorProfile = "no-such-profile" },
		"masked relative":       func(s *specs.Spec) { s.Linux.MaskedPaths = []string{"etc/passwd"} },
		"version of the future": func(s *specs.Spec) { s.Version = "2.0.0" },
		"no version":            func(s *specs.Spec) { s.Version = "" },
		"hook timeout": func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/true", Timeout: ptr(-1)}}}
		},
	}
}

func TestBadConfigurationsAreRefusedAndLeaveNothing(t *testing.T) {
	t.Parallel()
	lacks := map[string][]string{
		"version of the future": {"runc", "crun"}, "no version": {"runc", "crun"}, "hook timeout": {"runc", "crun"}, "hook path": {"runc", "crun"},
		"masked relative": {"runc", "crun"}, "offset without time": {"runc", "crun"}, "scheduler policy": {"runc", "crun"},
		"I/O class": {"runc", "crun"}, "personality": {"runc", "crun"}, "relative cwd": {"crun"}, "duplicate rlimit": {"runc", "crun"},
		"apparmor not there": {"crun"}, "no cwd": {"runc", "crun"}, "sysctl of the host": {"crun"},
		"device type": {"crun"}, "unknown namespace": {"crun"}, "no root": {"runc", "crun"}, "no arguments": {"crun"}, "root propagation": {"crun"}, "sysctl without ns": {"crun"}, "hostname without uts": {"crun"},
		"duplicate namespace": {"crun"},
	}
	for name, edit := range badConfigurations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peerLacks(t, "accepts it", lacks[name]...)
			b := newBundle(t, "echo", "it ran")
			edit(b.Spec)
			r := b.tryCreate()
			if r.code == 0 {
				r = b.cli("start", b.id) // what concerns the process may be told late
			}
			wantRefusal(t, r)
			b.cli("delete", "--force", b.id)
			for _, l := range b.leftovers() {
				t.Errorf("left %s", l)
			}
		})
	}
}

func bindOf(source, destination string, options ...string) specs.Mount {
	return specs.Mount{Destination: destination, Source: source, Type: "bind", Options: append([]string{"rbind"}, options...)}
}

// What create could not finish it must take back without being asked.
func TestFailedCreateLeavesNothing(t *testing.T) {
	t.Parallel()
	cases := map[string]func(b *bundle){
		"last mount": func(b *bundle) { b.mount(bindOf("/nowhere", "/data")) },
		"hook": func(b *bundle) {
			b.Spec.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/false"}}}
		},
		"device": func(b *bundle) {
			b.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/etc/passwd", Type: "c", Major: 1, Minor: 3}}
		},
		"console socket": func(b *bundle) { b.Spec.Process.Terminal = true },
		"pid file":       func(b *bundle) {},
	}
	for name, edit := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "device" {
				peerLacks(t, "takes any file for the device", "runc", "crun")
			}
			b := newBundle(t, "echo")
			edit(b)
			var options []string
			if name == "pid file" {
				options = []string{"--pid-file", "/nowhere/pid"}
			}
			wantRefusal(t, b.tryCreate(options...))
			for _, l := range b.leftovers() {
				t.Errorf("left %s", l)
			}
		})
	}
}

func TestWrongCommandLinesAreRefusedWithUsage(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo")
	b.write()
	peerLacks(t, "prints its help and succeeds", "crun", "runc")
	for _, args := range [][]string{
		{"nonsense"},
		{"run"},
		{"run", "--nonsense", b.id},
		{"run", "--bundle"},
		{"state"},
		{"state", "a", "b"},
		{"create", "--bundle", b.dir, b.id, "surplus"},
		{"exec", b.id},
		{"kill"},
		{"delete"},
		{"list", "--format", "nonsense"},
		{"start"},
		{"ps"},
		{"update"},
		{"events"},
		{"pause"},
		{"resume"},
	} {
		b.refused(nil, args...)
	}
	for _, args := range [][]string{{"--help"}, {"run", "--help"}, {"--version"}, {"-v"}, {"-h"}, {"help"}} {
		if r := b.cli(args...); r.code != 0 || r.stdout == "" {
			t.Errorf("want help: %v", r)
		}
	}
}

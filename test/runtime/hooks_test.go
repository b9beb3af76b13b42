package runtimetest

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// hookScript writes a shell program outside of the container. It logs one line for each call.
func hookScript(b *bundle, body string) string {
	b.t.Helper()
	path := b.path(fmt.Sprintf("hook-%d.sh", serial.Add(1)))
	must(b.t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return path
}

// logHook appends its name to the log, and keeps its standard input and environment.
func logHook(b *bundle, name string) specs.Hook {
	dir := mustMkdir(b.t, b.path("hooks"))
	must(b.t, os.Chmod(dir, 0o777))
	body := fmt.Sprintf(`echo %[2]s >> %[1]s/log
cat > %[1]s/%[2]s.state
env > %[1]s/%[2]s.env
echo "$0 $@" > %[1]s/%[2]s.args
for n in mnt net uts ipc pid; do readlink /proc/self/ns/$n; done > %[1]s/%[2]s.ns`, dir, name)
	return specs.Hook{Path: hookScript(b, body), Args: []string{name, "one", "two"}, Env: []string{"HOOK=" + name, "PATH=/usr/bin:/bin"}}
}

func hookLog(b *bundle) []string {
	text, _ := os.ReadFile(b.path("hooks/log"))
	return strings.Fields(string(text))
}

func hookState(t *testing.T, b *bundle, name string) specs.State {
	t.Helper()
	text, err := os.ReadFile(b.path("hooks", name+".state"))
	must(t, err)
	var s specs.State
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatalf("%s hook got %q: %v", name, text, err)
	}
	return s
}

// probeHook is a hook that resolves inside the container.
func probeHook(args ...string) specs.Hook {
	return specs.Hook{Path: "/probe", Args: append([]string{"/probe"}, args...)}
}

func TestHooksRunInOrderWithState(t *testing.T) {
	t.Parallel()
	needProgram(t, "sh")
	peerLacks(t, "runc 1.1 runs poststart hooks at create, crun 1.8 says created too early", "runc", "crun")
	b := newBundle(t, "do", "create", "/data/process", "x", ",", "sleep", "60")
	b.mount(bindOf(mustMkdir(t, b.path("volume")), "/data"))
	b.Spec.Annotations = map[string]string{"key": "value"}
	b.Spec.Hooks = &specs.Hooks{
		Prestart:        []specs.Hook{logHook(b, "prestart1"), logHook(b, "prestart2")},
		CreateRuntime:   []specs.Hook{logHook(b, "createRuntime1"), logHook(b, "createRuntime2")},
		CreateContainer: []specs.Hook{logHook(b, "createContainer1"), logHook(b, "createContainer2")},
		StartContainer:  []specs.Hook{probeHook("create", "/data/startContainer", "x"), probeHook("do", "create", "/data/order", "x", ",", "cat")},
		Poststart:       []specs.Hook{logHook(b, "poststart1"), logHook(b, "poststart2")},
		Poststop:        []specs.Hook{logHook(b, "poststop1"), logHook(b, "poststop2")},
	}
	b.create()
	want := []string{"prestart1", "prestart2", "createRuntime1", "createRuntime2", "createContainer1", "createContainer2"}
	if got := hookLog(b); !reflect.DeepEqual(got, want) {
		t.Errorf("create ran %v, want %v", got, want)
	}
	if _, err := os.Stat(b.path("volume/startContainer")); err == nil {
		t.Error("create ran the startContainer hook")
	}
	pid := b.pid()
	b.start()
	if _, err := os.Stat(b.path("volume/startContainer")); err != nil {
		t.Errorf("startContainer hook: %v", err)
	}
	want = append(want, "poststart1", "poststart2")
	if got := hookLog(b); !reflect.DeepEqual(got, want) {
		t.Errorf("start ran %v, want %v", got, want)
	}
	b.must("kill", b.id, "KILL")
	b.stopped()
	b.must("delete", b.id)
	want = append(want, "poststop1", "poststop2")
	if got := hookLog(b); !reflect.DeepEqual(got, want) {
		t.Errorf("delete ran %v, want %v", got, want)
	}
	checkHookStates(t, b, pid)
}

func checkHookStates(t *testing.T, b *bundle, pid int) {
	t.Helper()
	status := map[string]string{"prestart1": "creating", "createRuntime2": "creating", "createContainer1": "creating", "poststart1": "running", "poststop2": "stopped"}
	for name, want := range status {
		s := hookState(t, b, name)
		if s.ID != b.id || s.Bundle != b.dir || s.Annotations["key"] != "value" || s.Version == "" {
			t.Errorf("%s got %+v", name, s)
		}
		if string(s.Status) != want {
			t.Errorf("%s: status %s, want %s", name, s.Status, want)
		}
		if want != "stopped" && name != "createContainer1" && s.Pid != pid {
			t.Errorf("%s: pid %d, want %d", name, s.Pid, pid)
		}
	}
}

func TestHooksGetTheirArgumentsAndOnlyTheirEnvironment(t *testing.T) {
	t.Parallel()
	needProgram(t, "sh")
	b := newBundle(t, "echo")
	b.env = []string{"LEAK=secret"}
	names := []string{"createRuntime", "createContainer", "poststop"}
	b.Spec.Hooks = &specs.Hooks{
		CreateRuntime: []specs.Hook{logHook(b, names[0])}, CreateContainer: []specs.Hook{logHook(b, names[1])}, Poststop: []specs.Hook{logHook(b, names[2])},
	}
	b.mustRun()
	for _, name := range names {
		env, err := os.ReadFile(b.path("hooks", name+".env"))
		must(t, err)
		if !strings.Contains(string(env), "HOOK="+name+"\n") || strings.Contains(string(env), "LEAK") {
			t.Errorf("%s: environment %q", name, env)
		}
		args, err := os.ReadFile(b.path("hooks", name+".args"))
		must(t, err)
		if !strings.HasSuffix(strings.TrimSpace(string(args)), " one two") {
			t.Errorf("%s: arguments %q", name, args)
		}
	}
}

// Which namespaces a hook runs in is what hooks are written for.
func TestHooksRunInTheirNamespaces(t *testing.T) {
	t.Parallel()
	needProgram(t, "sh")
	b := newBundle(t, "report")
	b.mount(bindOf(mustMkdir(t, b.path("volume")), "/data"))
	b.Spec.Hooks = &specs.Hooks{
		Prestart: []specs.Hook{logHook(b, "prestart")}, CreateRuntime: []specs.Hook{logHook(b, "createRuntime")},
		CreateContainer: []specs.Hook{logHook(b, "createContainer")}, Poststart: []specs.Hook{logHook(b, "poststart")},
		Poststop: []specs.Hook{logHook(b, "poststop")},
	}
	r := b.decode(b.mustRun())
	for name, inside := range map[string]bool{"prestart": false, "createRuntime": false, "createContainer": true, "poststart": false, "poststop": false} {
		text, err := os.ReadFile(b.path("hooks", name+".ns"))
		must(t, err)
		ns := strings.Fields(string(text))
		for i, kind := range []string{"mnt", "net", "uts", "ipc"} {
			if i >= len(ns) {
				t.Fatalf("%s: %q", name, text)
			}
			want := ownNamespace(t, kind)
			if inside && (kind == "mnt" || kind == "net" || kind == "uts") {
				want = r.Namespaces[kind]
			}
			if ns[i] != want && !inside {
				t.Errorf("%s hook ran in %s, want %s", name, ns[i], want)
			}
			if inside && kind == "mnt" && ns[i] != want {
				t.Errorf("%s hook ran in mount namespace %s, want the container's %s", name, ns[i], want)
			}
		}
	}
}

// A createRuntime hook sees the namespaces of the container ready, to put a network into them.
func TestCreateRuntimeHookCanSetUpTheNetwork(t *testing.T) {
	t.Parallel()
	nsenter, ip := needProgram(t, "nsenter"), needProgram(t, "ip")
	b := newBundle(t, "report")
	body := fmt.Sprintf(`pid=$(sed 's/.*"pid": *\([0-9]*\).*/\1/' | tail -n1)
exec %s -t "$pid" -n %s addr add 10.9.8.7/32 dev lo`, nsenter, ip)
	b.Spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: hookScript(b, body), Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}}}}
	r := b.decode(b.mustRun())
	if !contains(r.Interfaces["lo"].Addrs, "10.9.8.7/32") {
		t.Errorf("interfaces %v", r.Interfaces)
	}
}

// createContainer hooks run in the container's mount namespace before its root is changed:
// what they mount below the root is in the container and not on the host.
func TestCreateContainerHookCanMountBelowTheRoot(t *testing.T) {
	t.Parallel()
	mount := needProgram(t, "mount")
	b := newBundle(t)
	body := fmt.Sprintf("exec %s -t tmpfs fromhook %s", mount, b.inRoot("data"))
	b.Spec.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: hookScript(b, body)}}}
	r := b.report()
	if m, ok := mountAt(r, "/data"); !ok || m.Source != "fromhook" {
		t.Errorf("/data is %+v", m)
	}
	if len(mountsBelow(b.rootfs())) > 0 {
		t.Errorf("on the host: %v", mountsBelow(b.rootfs()))
	}
}

func TestStartContainerHookRunsInTheContainer(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "do", "read", "/tmp/hook", ",", "read", "/tmp/state")
	b.Spec.Hooks = &specs.Hooks{StartContainer: []specs.Hook{
		probeHook("create", "/tmp/hook", "made"),
		{Path: "/bin/statehook", Args: []string{"statehook"}},
	}}
	must(t, os.WriteFile(b.inRoot("bin/statehook"), []byte("#!/probe cat\n"), 0o755))
	r := b.mustRun()
	got := b.results(r.stdout[strings.LastIndex(r.stdout, "[{"):])
	if got[0].Out != "made" {
		t.Errorf("%v", r)
	}
	// What a startContainer hook prints goes where the container's output goes, or nowhere.
	if i := strings.Index(r.stdout, `{"`); i >= 0 && strings.Contains(r.stdout, `"status"`) && !strings.Contains(r.stdout, `"pid":1`) && !strings.Contains(r.stdout, `"pid": 1`) {
		t.Errorf("the state is not as seen from inside: %s", r.stdout)
	}
}

func TestFailingHookUndoesCreate(t *testing.T) {
	t.Parallel()
	needProgram(t, "sh")
	for _, kind := range []string{"prestart", "createRuntime", "createContainer"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t, "echo")
			failing := []specs.Hook{logHook(b, "before"), {Path: hookScript(b, "echo because >&2; exit 7")}, logHook(b, "after")}
			b.Spec.Hooks = &specs.Hooks{Poststop: []specs.Hook{logHook(b, "poststop")}}
			switch kind {
			case "prestart":
				b.Spec.Hooks.Prestart = failing
			case "createRuntime":
				b.Spec.Hooks.CreateRuntime = failing
			case "createContainer":
				b.Spec.Hooks.CreateContainer = failing
			}
			wantRefusal(t, b.tryCreate(), "hook")
			for _, l := range b.leftovers() {
				t.Errorf("left %s", l)
			}
			got := hookLog(b)
			if contains(got, "after") || !contains(got, "before") {
				t.Errorf("ran %v, want the hooks up to the failing one", got)
			}
			peerLacks(t, "runs no poststop hooks then", "crun", "runc")
			if !contains(got, "poststop") {
				t.Errorf("ran %v, want the poststop hook: the lifecycle continues at step 12", got)
			}
		})
	}
}

func TestFailingStartHookStopsTheContainer(t *testing.T) {
	t.Parallel()
	needProgram(t, "sh")
	cases := map[string]*specs.Hooks{
		"startContainer": {StartContainer: []specs.Hook{probeHook("exit", "7")}},
		"poststart":      {Poststart: []specs.Hook{{Path: "/bin/false"}}},
		"not there":      {StartContainer: []specs.Hook{{Path: "/not/there"}}},
	}
	for name, hooks := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peerLacks(t, "start does not see it", "runc", "crun")
			b := newBundle(t, "do", "create", "/tmp/ran", "x", ",", "sleep", "60")
			b.Spec.Hooks = hooks
			b.create()
			b.refused([]string{"hook"}, "start", b.id)
			if _, err := os.Stat(b.inRoot("tmp/ran")); err == nil && name != "poststart" {
				t.Error("the program ran")
			}
			eventually(t, "stopped", func() bool { r := b.cli("state", b.id); return r.code != 0 || b.status() == specs.StateStopped })
		})
	}
}

func TestFailingPoststopHookIsAWarning(t *testing.T) {
	t.Parallel()
	needProgram(t, "sh")
	b := newBundle(t, "exit", "0")
	b.Spec.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/bin/false"}, logHook(b, "second")}}
	b.create()
	b.start()
	b.stopped()
	peerLacks(t, "runc 1.1 stops at the first", "runc", "crun")
	r := b.must("delete", b.id)
	if got := hookLog(b); !contains(got, "second") {
		t.Errorf("ran %v, want the second hook too", got)
	}
	if !strings.Contains(r.stderr, "hook") {
		t.Errorf("no warning: %v", r)
	}
}

func TestHookTimeoutKillsTheHook(t *testing.T) {
	t.Parallel()
	needProgram(t, "sh")
	b := newBundle(t, "echo")
	b.Spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: hookScript(b, "exec sleep 61"), Timeout: ptr(1), Env: []string{"PATH=/usr/bin:/bin", b.token}}}}
	began := time.Now()
	wantRefusal(t, b.tryCreate(), "hook")
	if d := time.Since(began); d < 900*time.Millisecond || d > 10*time.Second {
		t.Errorf("it took %v, want about a second", d)
	}
	for _, l := range b.leftovers() {
		t.Errorf("left %s", l)
	}
}

func TestMissingHookProgramIsNamed(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo")
	b.Spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/no/such/hook"}}}
	peerLacks(t, "names it not", "crun")
	wantRefusal(t, b.tryCreate(), "/no/such/hook", "no such file")
}

func TestHookMayBeLargeTalker(t *testing.T) {
	t.Parallel()
	needProgram(t, "sh")
	b := newBundle(t, "echo", "done")
	// More than a pipe holds, on both streams, without reading its standard input.
	b.Spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: hookScript(b, "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"), Env: []string{"PATH=/usr/bin:/bin"}}}}
	if r := b.mustRun(); !strings.Contains(r.stdout, "done") {
		t.Error(r)
	}
}

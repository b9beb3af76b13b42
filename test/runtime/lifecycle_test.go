package runtimetest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestRunPrintsAndReturnsExitCode(t *testing.T) {
	t.Parallel()
	for _, code := range []int{0, 1, 42, 255} {
		b := newBundle(t, "exit", strconv.Itoa(code))
		if r := b.run(); r.code != code {
			t.Errorf("want exit code %d: %v", code, r)
		}
	}
	b := newBundle(t, "echo", "hello")
	if r := b.mustRun(); r.stdout != "hello\n" {
		t.Errorf("want hello: %v", r)
	}
}

func TestStatusFollowsLifecycle(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	b.Spec.Annotations = map[string]string{"org.example.key": "value", "empty": ""}
	b.create()
	s, _ := b.state()
	if s.Status != specs.StateCreated || s.ID != b.id || s.Bundle != b.dir || s.Version == "" {
		t.Errorf("after create: %+v", s)
	}
	if s.Pid <= 0 || s.Annotations["org.example.key"] != "value" {
		t.Errorf("after create: %+v, want a pid and the annotations", s)
	}
	created := s.Pid
	b.start()
	b.ready()
	if s, _ := b.state(); s.Status != specs.StateRunning || s.Pid != created {
		t.Errorf("after start: %+v, want running as %d", s, created)
	}
	b.must("kill", b.id, "KILL")
	b.stopped()
	if s, _ := b.state(); s.Status != specs.StateStopped {
		t.Errorf("after kill: %+v", s)
	}
	b.must("delete", b.id)
	b.refused(nil, "state", b.id)
}

// The program must not run before start, and what changes in config.json after create has no effect.
func TestCreateDoesNotRunProgramAndFreezesConfig(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "do", "create", "/tmp/ran", "x", ",", "sleep", "60")
	b.create()
	mark := b.inRoot("tmp/ran")
	if _, err := os.Stat(mark); err == nil {
		t.Fatal("create ran the program")
	}
	mustWrite(t, filepath.Join(b.dir, "config.json"), "no longer JSON")
	b.start()
	eventually(t, "run", func() bool { _, err := os.Stat(mark); return err == nil })
	b.destroy()
}

func TestWrongOrderIsRefusedWithoutEffect(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	for _, command := range [][]string{{"start", b.id}, {"state", b.id}, {"kill", b.id, "KILL"}, {"delete", b.id}, {"ps", b.id}, {"pause", b.id}, {"exec", b.id, "/probe", "echo"}} {
		b.refused(nil, command...)
	}
	b.create()
	b.start()
	b.ready()
	b.refused(nil, "start", b.id)
	b.refused(nil, "delete", b.id)
	if got := b.status(); got != specs.StateRunning {
		t.Errorf("refused commands changed it to %s", got)
	}
	b.must("kill", b.id, "KILL")
	b.stopped()
	b.refused(nil, "start", b.id)
	b.refused(nil, "kill", b.id, "KILL")
	b.refused(nil, "exec", b.id, "/probe", "echo")
	b.must("delete", b.id)
	b.refused(nil, "delete", b.id)
}

// The specification wants an error; crun and runc kill the container, and engines have come to rely
// on that. Either is right, a half-removed container is not.
func TestDeleteOfCreatedContainerIsAllOrNothing(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	b.create()
	if r := b.cli("delete", b.id); r.code == 0 {
		for _, l := range b.leftovers() {
			t.Errorf("delete left %s", l)
		}
	} else if got := b.status(); got != specs.StateCreated {
		t.Errorf("refused delete left it %s: %v", got, r)
	}
}

// dockerd and containerd read these words to tell "gone" from "broken".
func TestErrorsForMissingContainersSayThatTheyDoNotExist(t *testing.T) {
	t.Parallel()
	peerLacks(t, "has words of its own", "crun")
	b := newBundle(t)
	for _, command := range []string{"state", "start", "delete", "kill"} {
		b.refused([]string{"does not exist"}, command, b.id)
	}
	if r := b.cli("delete", "--force", b.id); r.code != 0 {
		t.Errorf("delete --force of a missing container is no error: %v", r)
	}
}

func TestIDMustBeUnique(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	b.create()
	pid := b.pid()
	r := b.cli("create", "--bundle", b.dir, b.id)
	wantRefusal(t, r, "exist")
	if got := b.pid(); got != pid {
		t.Errorf("the refused create changed the container: pid %d, was %d", got, pid)
	}
	b.destroy()
	b.create() // the name is free again
}

func TestBadIDsAreRefused(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo")
	b.write()
	peerLacks(t, "takes any name for a file", "crun")
	for _, id := range []string{"", "..", ".", "a/b", "../x", "a b", "x\ny", "é", strings.Repeat("x", 2000)} {
		wantRefusal(t, b.cli("run", "--bundle", b.dir, id))
	}
	for _, id := range []string{"a", "A-b_c.d+e", "0", "x.y"} {
		full := b.id + id
		if r := b.cli("run", "--bundle", b.dir, full); r.code != 0 {
			t.Errorf("id %q: %v", full, r)
		}
	}
}

func TestPidFileHoldsThePidOfTheHost(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	file := b.path("pid")
	b.up("--pid-file", file)
	text, err := os.ReadFile(file)
	must(t, err)
	if string(text) != strconv.Itoa(b.pid()) {
		t.Errorf("pid file holds %q, state says %d", text, b.pid())
	}
	b.destroy()
}

func TestBundleDefaultsToWorkingDirectory(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo", "here")
	b.write()
	in := b.invocation("run", b.id)
	in.dir = b.dir
	if r := call(t, in); r.code != 0 || r.stdout != "here\n" {
		t.Error(r)
	}
	in = b.invocation("run", "-b", "bundle", b.id)
	in.dir = b.scratch
	if r := call(t, in); r.code != 0 || r.stdout != "here\n" {
		t.Error(r)
	}
}

func TestRunDetachReturnsWhileContainerRuns(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	b.write()
	in := b.invocation("run", "--detach", "--bundle", b.dir, "--pid-file", b.path("pid"), b.id)
	in.out, in.err = b.out, b.err
	if r := call(t, in); r.code != 0 {
		t.Fatal(r)
	}
	b.ready()
	if got := b.status(); got != specs.StateRunning {
		t.Errorf("status %s", got)
	}
	b.destroy()
}

func TestRunKeepLeavesAStoppedContainer(t *testing.T) {
	t.Parallel()
	peerLacks(t, "has no run --keep", "runc")
	peerLacks(t, "crun 1.8 has no run --keep that stays", "crun")
	b := newBundle(t, "exit", "3")
	if r := b.run("--keep"); r.code != 3 {
		t.Fatal(r)
	}
	if got := b.status(); got != specs.StateStopped {
		t.Errorf("status %s", got)
	}
	b.must("delete", b.id)
}

func TestRunRemovesTheContainer(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo")
	b.mustRun()
	for _, l := range b.leftovers() {
		t.Errorf("run left %s", l)
	}
}

func TestDeleteForceKillsAndRemoves(t *testing.T) {
	t.Parallel()
	created := newBundle(t, "sleep", "60")
	created.create()
	created.destroy()
	running := newBundle(t, "sleep", "60").up()
	running.destroy()
	stopped := newBundle(t, "exit", "0")
	stopped.create()
	stopped.start()
	stopped.stopped()
	stopped.destroy()
}

// A container that shares the host's process namespace leaves its children to the control group.
func TestDeleteForceKillsDescendantsWithoutPidNamespace(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "do", "orphan", "60", ",", "sleep", "60").noNamespace(specs.PIDNamespace)
	b.create()
	b.start()
	eventually(t, "two processes", func() bool { return len(b.processes()) >= 2 })
	b.destroy()
}

func TestCreatedContainerCanBeKilled(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	b.create()
	b.must("kill", b.id, "KILL")
	b.stopped()
	b.refused(nil, "start", b.id)
	b.must("delete", b.id)
}

func TestKillDeliversSignalsByNameAndNumber(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ given, want string }{
		{"TERM", "SIGTERM"}, {"SIGUSR1", "SIGUSR1"}, {"10", "SIGUSR1"}, {"hup", "SIGHUP"}, {"", "SIGTERM"}, {"SIGRTMIN+3", ""},
	} {
		b := newBundle(t, "wait-signal")
		if c.given == "SIGRTMIN+3" {
			peerLacks(t, "knows no real-time signals by name", "runc", "crun")
		}
		if c.given == "hup" && programsUnderTest(t).name == "crun" {
			continue // it sends nothing
		}
		b.up()
		args := []string{"kill", b.id}
		if c.given != "" {
			args = append(args, c.given)
		}
		b.must(args...)
		eventually(t, "told of "+c.given, func() bool {
			got, told := strings.CutPrefix(contents(b.out), "ready\n")
			return told && got != "" && (c.want == "" || got == c.want+"\n")
		})
		b.stopped()
	}
}

func TestKillRefusesUnknownSignals(t *testing.T) {
	t.Parallel()
	peerLacks(t, "takes any word for a signal", "crun")
	b := newBundle(t, "sleep", "60").up()
	for _, s := range []string{"NOSUCH", "-1", "1000", "0x"} {
		b.refused(nil, "kill", b.id, s)
	}
	if got := b.status(); got != specs.StateRunning {
		t.Errorf("status %s", got)
	}
}

func TestKillAllReachesEveryProcess(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "do", "orphan", "60", ",", "sleep", "60").noNamespace(specs.PIDNamespace)
	b.create()
	b.start()
	eventually(t, "two processes", func() bool { return len(b.processes()) >= 2 })
	b.must("kill", "--all", b.id, "KILL")
	eventually(t, "all dead", func() bool { return len(b.processes()) == 0 })
	b.stopped()
	b.must("delete", b.id)
}

package runtimetest

import (
	"os"
	"strings"
	"testing"
)

// pass gives the runtime open descriptors from 3 on, as a careless or a deliberate caller would.
func (b *bundle) pass(names ...string) {
	b.t.Helper()
	for _, n := range names {
		f, err := os.Open(mustWrite(b.t, b.path(n), "content of "+n))
		must(b.t, err)
		b.t.Cleanup(func() { f.Close() })
		b.extra = append(b.extra, f)
	}
}

func TestNoDescriptorOfTheRuntimeOrItsCallerLeaks(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "report")
	b.pass("three", "four", "five")
	// One more far away, and a directory of the host.
	dir, err := os.Open("/")
	must(t, err)
	defer dir.Close()
	b.extra = append(b.extra, dir)
	r := b.decode(b.mustRun())
	for fd, target := range r.FDs {
		if fd > 2 {
			t.Errorf("descriptor %d: %s", fd, target)
		}
	}
	b.Spec.Process.Args = []string{"/probe", "sleep", "60"}
	b.up()
	r = b.decode(b.mustExec("/probe", "report"))
	for fd, target := range r.FDs {
		if fd > 2 {
			t.Errorf("exec: descriptor %d: %s", fd, target)
		}
	}
}

// The process that waits for start holds what it needs to go on, and nothing of the caller's.
func TestCreatedProcessHoldsNoDescriptorOfTheCaller(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	b.pass("three", "four")
	b.create()
	dir := "/proc/" + itoa(b.pid()) + "/fd"
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		target, _ := os.Readlink(dir + "/" + e.Name())
		if strings.Contains(target, b.scratch) && !strings.HasPrefix(target, b.root) {
			t.Errorf("descriptor %s: %s", e.Name(), target)
		}
	}
}

func TestPreserveFDsPassesExactlyThatMany(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "do", "read", "/proc/self/fd/3", ",", "read", "/proc/self/fd/4", ",", "exists", "/proc/self/fd/5")
	b.pass("three", "four", "five")
	r := b.results(b.mustRun("--preserve-fds", "2").stdout)
	if r[0].Out != "content of three" || r[1].Out != "content of four" || r[2].Err == "" {
		t.Errorf("%v", r)
	}
	b.Spec.Process.Args = []string{"/probe", "sleep", "60"}
	b.up()
	r = b.results(b.mustExec(append([]string{"--preserve-fds", "1", "--"}, doArgs([]string{"read /proc/self/fd/3", "exists /proc/self/fd/4"})...)...).stdout)
	if r[0].Out != "content of three" || r[1].Err == "" {
		t.Errorf("exec: %v", r)
	}
}

func TestPreserveFDsThatAreNotOpenIsRefused(t *testing.T) {
	t.Parallel()
	peerLacks(t, "take it", "crun", "runc")
	b := newBundle(t, "echo")
	b.pass("three")
	wantRefusal(t, b.run("--preserve-fds", "5"))
}

// systemd's socket activation: runc passes LISTEN_FDS descriptors and the variables on.
func TestListenFDsArePassedOn(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "report")
	b.pass("three", "four")
	b.write()
	in := b.invocation("run", "--bundle", b.dir, b.id)
	in.args = append([]string{"-c", `export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"`, "-", in.path}, in.args...)
	in.path = needProgram(t, "sh")
	r := b.decode(call(t, in))
	if !strings.HasSuffix(r.FDs[3], "three") || r.FDs[4] != "" || !contains(r.Env, "LISTEN_FDS=1") || !contains(r.Env, "LISTEN_PID=1") {
		t.Errorf("descriptors %v, environment %q", r.FDs, r.Env)
	}
}

func TestClosedStandardStreamsAreNoHole(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "report")
	b.write()
	// With descriptor 0 closed, the runtime's first open would otherwise become the container's input.
	in := b.invocation("run", "--bundle", b.dir, b.id)
	in.args = append([]string{"-c", `exec "$@" <&-`, "-", in.path}, in.args...)
	in.path = needProgram(t, "sh")
	r := call(t, in)
	if r.code != 0 {
		return // refused: as good
	}
	for fd, target := range b.decode(r).FDs {
		if fd > 2 || fd == 0 && strings.HasPrefix(target, "/") && target != "/dev/null" {
			t.Errorf("descriptor %d: %s", fd, target)
		}
	}
}

package container

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// repeater is a running container in which the same is executed again and again.
type repeater struct {
	*testing.T
	c       *Container
	rootfs  string
	process specs.Process
}

func newRepeater(t *testing.T, edit func(*specs.Spec)) *repeater {
	s, id := testStore(t)
	bundle := bundleOf(t, edit, "sh", "-c", "while :; do sleep 1; done")
	c, err := s.Create(id, CreateOptions{Adopted: true, Bundle: bundle})
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.process()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Delete(true)
		_, _ = (&Process{Pid: first.pid, pidfd: -1}).Wait() // it is our child
	})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return &repeater{T: t, c: c, rootfs: filepath.Join(bundle, "rootfs"), process: specs.Process{Cwd: "/", Env: []string{"PATH=/bin", "HOME=/"}}}
}

// exec executes script and returns what it prints.
func (r *repeater) exec(script string) (string, error) {
	r.Helper()
	r.process.Args = []string{"sh", "-c", script}
	null, err := os.Open("/dev/null")
	if err != nil {
		r.Fatal(err)
	}
	defer null.Close()
	out, in, err := os.Pipe()
	if err != nil {
		r.Fatal(err)
	}
	defer out.Close()
	p, err := r.c.Exec(ExecOptions{Process: &r.process, Stdio: [3]*os.File{null, in, in}})
	_ = in.Close()
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(out)
	if err != nil {
		r.Error(err)
	}
	if code, err := p.Wait(); err != nil || code != 0 {
		r.Errorf("%s: ended with %d, %v", script, code, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// same executes script twice, the second time by what was kept.
func (r *repeater) same(script string) string {
	r.Helper()
	first, err := r.exec(script)
	if err != nil {
		r.Fatal(err)
	}
	have := r.c.kept
	if have == nil {
		r.Fatalf("%s: nothing was kept", script)
	}
	again, err := r.exec(script)
	if err != nil {
		r.Fatal(err)
	}
	if again != first {
		r.Errorf("%s: the second time %q, the first time %q", script, again, first)
	}
	if r.c.kept != have {
		r.Errorf("%s: the second time the program was made anew", script)
	}
	return again
}

func TestAnExecThatIsKeptIsTheSame(t *testing.T) {
	r := newRepeater(t, func(s *specs.Spec) {
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN", "CAP_KILL"}}
	})
	r.process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}}
	r.process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}}
	for _, script := range []string{
		"cat /proc/self/cgroup", "for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done",
		"grep -E '^(Cap|Sig[BIC]|Uid|Gid|Groups|NoNewPrivs|Seccomp|Umask|Cpus)' /proc/self/status", "cat /proc/self/limits; env",
		"pwd; ls /; ls -l /proc/self/fd | sed 's/.*[0-9] //; s/pipe.*/pipe/' | wc -l",
	} {
		r.same(script)
	}
}

// What the caller changes, even in place, holds.
func TestAnExecThatIsKeptFollowsItsProcess(t *testing.T) {
	r := newRepeater(t, nil)
	const script = "echo $WHO; id -u; umask"
	umask := uint32(0o077)
	for n, change := range []func(p *specs.Process){
		func(p *specs.Process) { p.Env = append(p.Env, "WHO=one") },
		func(p *specs.Process) { p.Env[2] = "WHO=two" },
		func(p *specs.Process) { p.User.UID = 5 },
		func(p *specs.Process) { p.User.Umask = &umask },
		func(*specs.Process) { umask = 0o027 },
	} {
		change(&r.process)
		want := [][]string{{"one", "0", "0022"}, {"two", "0", "0022"}, {"two", "5", "0022"}, {"two", "5", "0077"}, {"two", "5", "0027"}}[n]
		if got := strings.Fields(r.same(script)); !reflect.DeepEqual(got, want) {
			t.Errorf("after change %d: %q, want %q", n, got, want)
		}
	}
	// Another user may open what its own end of a pipe is.
	if got := r.same("echo x >/dev/stdout || ls -ln /proc/self/fd/1"); got != "x" {
		t.Errorf("opening /dev/stdout again: %s", got)
	}
}

func TestAnExecThatIsKeptSaysWhatFails(t *testing.T) {
	r := newRepeater(t, nil)
	run := func() error {
		null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		r.process.Args = []string{"true"}
		p, err := r.c.Exec(ExecOptions{Process: &r.process, Stdio: [3]*os.File{null, null, null}})
		if err == nil {
			_, err = p.Wait()
		}
		return err
	}
	program := filepath.Join(r.rootfs, "bin/true")
	link(t, "busybox", program)
	for range 2 {
		if err := run(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if err := run(); err == nil || !strings.Contains(err.Error(), `exec: "true": executable file not found in $PATH`) {
		t.Errorf("the program is gone: %v", err)
	}
	if r.c.kept != nil {
		t.Error("a program that fails is kept")
	}
	link(t, "busybox", program)
	if err := run(); err != nil {
		t.Errorf("the program is back: %v", err)
	}
	if err := r.c.Pause(); err == nil {
		if err := run(); !errors.Is(err, ErrPaused) {
			t.Errorf("in a paused container: %v, want ErrPaused", err)
		}
		if err := r.c.Resume(); err != nil {
			t.Fatal(err)
		}
		if err := run(); err != nil {
			t.Errorf("in one that goes on: %v", err)
		}
	}
	if r.c.kept == nil {
		t.Error("nothing is kept")
	}
	if err := r.c.Signal(unix.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, r.c, specs.StateStopped)
	if err := run(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("in a stopped container: %v, want ErrNotRunning", err)
	}
}

func TestWhatIsKeptIsGivenBack(t *testing.T) {
	before := descriptors(t)
	r := newRepeater(t, nil)
	for range 3 {
		r.same("true")
	}
	kept := descriptors(t)
	for n := range 5 {
		r.same(fmt.Sprint("exit 0 #", n))
	}
	if n := descriptors(t); n != kept {
		t.Errorf("%d descriptors after more execs, %d before", n, kept)
	}
	if err := r.c.Delete(true); err != nil {
		t.Fatal(err)
	}
	if n := descriptors(t); n > before {
		t.Errorf("left %d descriptors", n-before)
	}
}

// Two at once cannot run the same memory.
func TestKeptExecsAtOnce(t *testing.T) {
	r := newRepeater(t, nil)
	var group sync.WaitGroup
	for n := range 4 {
		group.Go(func() {
			mine := &repeater{T: t, c: r.c, process: r.process}
			mine.process.Env = []string{"PATH=/bin", "HOME=/"}
			for round := range 20 {
				script := fmt.Sprintf("echo %d", n*(round%2))
				if got, err := mine.exec(script); err != nil || "echo "+got != script {
					t.Errorf("%s printed %q, %v", script, got, err)
				}
			}
		})
	}
	group.Wait()
}

func TestCopiesOfProcessesAreWhole(t *testing.T) {
	umask := uint32(7)
	p := &specs.Process{
		Terminal: true, ConsoleSize: &specs.Box{Height: 3}, User: specs.User{UID: 1, Umask: &umask, AdditionalGids: []uint32{4}}, Args: []string{"a"},
		Capabilities: &specs.LinuxCapabilities{Ambient: []string{"CAP_KILL"}}, Rlimits: []specs.POSIXRlimit{{Type: "x"}},
		ExecCPUAffinity: &specs.CPUAffinity{Final: "1"}, IOPriority: &specs.LinuxIOPriority{Priority: 2}, Scheduler: &specs.Scheduler{Nice: 1},
	}
	c := copyOf(reflect.ValueOf(p)).Interface().(*specs.Process)
	if !reflect.DeepEqual(c, p) {
		t.Fatalf("copy = %+v, want %+v", c, p)
	}
	umask, p.Args[0], p.Capabilities.Ambient[0], p.ExecCPUAffinity.Final = 0, "b", "CAP_CHOWN", "2"
	if *c.User.Umask != 7 || c.Args[0] != "a" || c.Capabilities.Ambient[0] != "CAP_KILL" || c.ExecCPUAffinity.Final != "1" {
		t.Errorf("the copy shares memory: %+v", c)
	}
}

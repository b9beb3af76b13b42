package interop

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// limit is how long one command of an engine may take. Nothing here needs a
// tenth of it on a quiet machine.
const limit = 40 * time.Second

// engine is a program that runs containers through the runtime under test.
type engine struct {
	name    string
	command []string // the program and its global options
	env     []string
	common  []string // options of every run
	force   []string // options of rm that remove a running container at once
	image   string
	parent  string   // control group that all containers are below, "/name"
	runtime string   // the program under test
	state   string   // its --root, "" for its default
	before  []string // containers of the default root that are not ours
}

// result is what a command did.
type result struct {
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return "stdout " + quote(r.stdout) + ", stderr " + quote(r.stderr)
}

func quote(s string) string {
	if len(s) > 2000 {
		s = s[:2000] + "..."
	}
	return "«" + strings.TrimSpace(s) + "»"
}

// do runs a command of the engine's.
func (e *engine) do(t *testing.T, args ...string) result {
	t.Helper()
	return e.feed(t, "", args...)
}

// feed runs a command of the engine's with stdin as its standard input.
func (e *engine) feed(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	argv := append(e.command[:len(e.command):len(e.command)], args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), e.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	// A container's process that holds the pipes must not hold the test.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	r := result{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		t.Fatalf("%s %s: %v; %s", e.name, strings.Join(args, " "), err, r)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s %s: still running after %v; %s", e.name, strings.Join(args, " "), limit, r)
	}
	return r
}

// want runs a command of the engine's that must exit with code.
func (e *engine) want(t *testing.T, code int, args ...string) result {
	t.Helper()
	r := e.do(t, args...)
	if r.code != code {
		t.Fatalf("%s %s: exit status %d, want %d; %s", e.name, strings.Join(args, " "), r.code, code, r)
	}
	return r
}

// must runs a command that must succeed and returns what it printed.
func (e *engine) must(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(e.want(t, 0, args...).stdout)
}

// run returns the arguments of a run with the options and the command given.
func (e *engine) run(options []string, command ...string) []string {
	return e.attached(append([]string{"--network", "none"}, options...), command...)
}

// attached is run, for options that choose a network themselves.
func (e *engine) attached(options []string, command ...string) []string {
	args := append([]string{"run"}, e.common...)
	args = append(append(args, options...), e.image)
	return append(args, command...)
}

// start starts a detached container that is removed when the test ends.
func (e *engine) start(t *testing.T, options []string, command ...string) (name string) {
	t.Helper()
	name = strings.ToLower(strings.NewReplacer("/", "-", "_", "-", " ", "-").Replace(t.Name()))
	e.must(t, e.run(append([]string{"--detach", "--name", name}, options...), command...)...)
	t.Cleanup(func() {
		e.remove(t, name)
	})
	return name
}

// remove removes a container, running or not. The test's own context may have
// ended. Podman's command to clean up after the container's end runs at the
// same time and can be in the way of its rm, so a second attempt is fair.
func (e *engine) remove(t *testing.T, name string) {
	t.Helper()
	argv := append(append(e.command[:len(e.command):len(e.command)], "rm"), e.force...)
	for attempt := 1; ; attempt++ {
		cmd := exec.Command(argv[0], append(argv[1:], name)...)
		cmd.Env = append(os.Environ(), e.env...)
		out, err := cmd.CombinedOutput()
		if err == nil {
			return
		}
		if attempt == 3 {
			t.Errorf("%s rm %s: %v; %s", e.name, name, err, out)
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// inspect returns one field of a container.
func (e *engine) inspect(t *testing.T, name, format string) string {
	t.Helper()
	return e.must(t, "inspect", "--type", "container", "--format", format, name)
}

// eventually waits until ok, which is asked every few milliseconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit / 2)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, limit/2)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// group reads a control group file of a process: the first of files, which are
// the v1 and the v2 name, that exists in any of its groups.
func group(t *testing.T, pid string, files ...string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		f := strings.SplitN(line, ":", 3)
		mount := strings.TrimPrefix(f[1], "name=")
		if f[1] == "" && isHybrid() {
			mount = "unified"
		}
		for _, file := range files {
			content, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", mount, f[2], file))
			if err == nil {
				return strings.TrimSpace(string(content))
			}
		}
	}
	t.Fatalf("no %s in the control groups of process %s:\n%s", strings.Join(files, " or "), pid, text)
	return ""
}

func isHybrid() bool {
	_, err := os.Stat("/sys/fs/cgroup/unified")
	return err == nil
}

// leftovers fails the test for whatever the engine's containers left.
func (e *engine) leftovers(t *testing.T) {
	t.Helper()
	left := e.groups(t)
	// conmon's own group is Podman's to leave.
	left = slices.DeleteFunc(left, func(file string) bool { return strings.HasSuffix(file, "/conmon/cgroup.procs") })
	for _, id := range e.listed(t) {
		if !slices.Contains(e.before, id) {
			left = append(left, "container "+id)
		}
	}
	if len(left) > 0 {
		t.Errorf("%d groups and states were left behind, among them\n%s", len(left), strings.Join(left[:min(len(left), 5)], "\n"))
	}
}

// groups returns the cgroup.procs files of the groups below the parent.
func (e *engine) groups(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, pattern := range []string{"/sys/fs/cgroup" + e.parent + "/*/cgroup.procs", "/sys/fs/cgroup/*" + e.parent + "/*/cgroup.procs"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Error(err)
		}
		list = append(list, found...)
	}
	return list
}

// listed asks the runtime for the containers it knows.
func (e *engine) listed(t *testing.T) []string {
	t.Helper()
	argv := []string{e.runtime}
	if e.state != "" {
		argv = append(argv, "--root", e.state)
	}
	out, err := exec.Command(argv[0], append(argv[1:], "list", "--quiet")...).Output()
	if err != nil {
		t.Fatalf("%s list: %v", e.runtime, err)
	}
	return strings.Fields(string(out))
}

// removeParent removes the control group that the engine's containers were
// below, which engines leave, and ends whatever a failed test left there.
func (e *engine) removeParent(t *testing.T) {
	for _, file := range e.groups(t) {
		for _, text := range strings.Fields(read(t, file)) {
			if pid, err := strconv.Atoi(text); err == nil && pid > 0 {
				_ = unix.Kill(pid, unix.SIGKILL) // it may be gone
			}
		}
		// A group is busy until its processes are gone.
		for range 50 {
			if err := os.Remove(filepath.Dir(file)); !errors.Is(err, unix.EBUSY) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup" + e.parent, "/sys/fs/cgroup/*" + e.parent} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Error(err)
		}
		for _, dir := range found {
			if err := os.Remove(dir); err != nil {
				t.Errorf("remove the parent control group: %v", err)
			}
		}
	}
}

package compat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tare.dev/tare/test/rootfs"
)

const insideVariable = "TARE_COMPAT_TEST_INSIDE"

// TestMain runs the tests in namespaces of their own.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run()) // each says that it needs root
	}
	if os.Getenv(insideVariable) != "" {
		os.Exit(inside(m))
	}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run in namespaces:", err)
		os.Exit(1)
	}
}

// scratch is where the program is built, and engines have their folders. Paths of sockets are short.
var scratch string

func inside(m *testing.M) int {
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		var out []byte
		if out, err = exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err == nil {
		scratch, err = os.MkdirTemp("", "tc")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare namespaces:", err)
		return 1
	}
	defer os.RemoveAll(scratch)
	return m.Run()
}

// program is the one beside what TARE_RUNTIME names; without that, it is built.
func program(t *testing.T) string {
	t.Helper()
	if named := os.Getenv("TARE_RUNTIME"); named != "" {
		return filepath.Join(filepath.Dir(named), "tare")
	}
	path := filepath.Join(scratch, "tare")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "build", "-o", path, "-ldflags=-s -w -E=tare.dev/tare/internal/sysprog.entry", "tare.dev/tare/cmd/tare")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build tare: %v\n%s", err, out)
	}
	return path
}

// An engine runs until its test ends.
type engine struct {
	*testing.T
	tare, root, run string
	env             []string
}

// need skips the test where a program is not installed (packages.txt).
func need(t *testing.T, name string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to run containers")
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed (see packages.txt)", name)
	}
	return path
}

// start starts an engine with the image busybox:1.
func start(t *testing.T, flags ...string) *engine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to run containers")
	}
	dir, err := os.MkdirTemp(scratch, "e")
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{T: t, tare: program(t), root: filepath.Join(dir, "flash"), run: filepath.Join(dir, "run")}
	e.env = append(os.Environ(), "TARE_ROOT="+e.root, "TARE_RUN="+e.run, "DOCKER_HOST=unix://"+e.socket(),
		"DOCKER_CONFIG="+dir, "HOME="+dir, "PATH="+filepath.Dir(e.tare)+":"+os.Getenv("PATH"))
	e.busybox()
	log, err := os.Create(filepath.Join(dir, "daemon.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(e.tare, append([]string{"daemon"}, flags...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = e.env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.end(cmd)
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("tare daemon: %s", text[max(0, len(text)-4000):])
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	e.wait("listens", func() bool {
		c, err := net.Dial("unix", e.socket())
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return e
}

func (e *engine) socket() string { return filepath.Join(e.run, "tare.sock") }

// busybox makes the image that the tests use. A tree is made once.
func (e *engine) busybox() {
	e.Helper()
	tree := filepath.Join(scratch, "busybox")
	if _, err := os.Stat(tree); err != nil {
		if err := rootfs.Busybox(tree); err != nil {
			e.Skip(err)
		}
	}
	archive := filepath.Join(scratch, "busybox.tar")
	e.must("", "tar", "-C", tree, "-cf", archive, ".")
	e.must("", e.tare, "import", "-q", "-c", `CMD ["sh"]`, archive, "busybox:1")
}

// end removes what tests have left, and ends the engine. What stays of containers fails the test.
func (e *engine) end(cmd *exec.Cmd) {
	for id := range strings.FieldsSeq(e.output("tare", "ps", "-aq")) {
		e.output("tare", "rm", "-fv", id)
	}
	if left := e.output("tare", "ps", "-aq"); left != "" {
		e.Errorf("containers are left: %s", left)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		e.Error(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			e.Errorf("tare daemon: %v", err)
		}
	case <-time.After(20 * time.Second):
		e.Error("tare daemon does not end")
		_ = cmd.Process.Kill()
		<-ended
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		e.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], e.run+"/") {
			e.Errorf("%s is still mounted", f[4])
			_ = unix.Unmount(f[4], unix.MNT_DETACH)
		}
	}
}

// wait waits for something that takes a moment.
func (e *engine) wait(what string, is func() bool) {
	e.Helper()
	for range 500 {
		if is() {
			return
		}
		time.Sleep(20 * time.Millisecond) // it does not tell
	}
	e.Fatalf("not within ten seconds: %s", what)
}

// do runs a command of a client's.
func (e *engine) do(dir, stdin string, args ...string) (out string, status int) {
	e.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // of a cleanup, too
	defer cancel()
	cmd := exec.CommandContext(ctx, e.which(args[0]), args[1:]...)
	var b bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, e.env, strings.NewReader(stdin), &b, &b
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if cmd.ProcessState == nil {
		e.Fatalf("%s: %v", args, err)
	}
	if ctx.Err() != nil {
		e.Fatalf("%s does not end:\n%s", args, &b)
	}
	return b.String(), cmd.ProcessState.ExitCode()
}

func (e *engine) which(name string) string {
	if name == "tare" {
		return e.tare
	}
	return name
}

// must runs a command that works, and returns what it prints.
func (e *engine) must(stdin string, args ...string) string {
	e.Helper()
	out, status := e.do("", stdin, args...)
	if status != 0 {
		e.Fatalf("%s: status %d\n%s", args, status, out)
	}
	return strings.TrimRight(out, "\n")
}

// output is what a command prints, however it ends.
func (e *engine) output(args ...string) string {
	e.Helper()
	out, _ := e.do("", "", args...)
	return out
}

// A step is a command, and what is expected of it.
type step struct {
	args   string // split at blanks; '…' holds a word together
	stdin  string
	status int
	want   []string // parts of the output
	never  []string // parts that must not be there
}

func (e *engine) steps(client string, all []step) {
	e.Helper()
	for _, s := range all {
		args := append(split(client), split(s.args)...)
		out, status := e.do("", s.stdin, args...)
		if status != s.status {
			e.Errorf("%s %s: status %d, want %d\n%s", client, s.args, status, s.status, out)
		}
		for _, w := range s.want {
			if !strings.Contains(out, w) {
				e.Errorf("%s %s prints no %q:\n%s", client, s.args, w, out)
			}
		}
		for _, w := range s.never {
			if strings.Contains(out, w) {
				e.Errorf("%s %s prints %q:\n%s", client, s.args, w, out)
			}
		}
	}
}

// split is a command line's words. What stands in '…' is one.
func split(s string) []string {
	var all []string
	for n, part := range strings.Split(s, "'") {
		if n%2 == 1 {
			all = append(all, part)
			continue
		}
		all = append(all, strings.Fields(part)...)
	}
	return all
}

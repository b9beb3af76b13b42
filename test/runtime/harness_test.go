// Package runtimetest drives a built OCI runtime through its command line, as an engine does.
// Every test leaves the machine as it found it, and fails if the runtime did not.
// It knows nothing of the runtime's code: TARE_RUNTIME may name any runtime with runc's command line.
//
// TARE_KERNEL=5.4 has a runtime built with the tag faultinject behave as on that kernel, where it
// must do the same by other calls.
//
// TARE_RUNTIME and TARE_PROBE name the binaries; where they are unset, they are built. The compiled
// test (go test -c) needs neither Go nor sources when both are set. crun before 1.9 refuses a hybrid
// hierarchy with controllers in its unified part; for it, unmount /sys/fs/cgroup/unified in a mount
// namespace of your own first.
package runtimetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// programs are the binaries under test, in a directory that is removed at the end.
type programs struct {
	dir     string
	runtime string // called by a name that makes tare take runc's command line
	name    string // the first word of --version: tare, crun or runc
	probe   string
}

// entryFlags link the program as the Makefile does: with the entry that repeats a stored start.
const entryFlags = "-ldflags=-E=tare.dev/tare/internal/sysprog.entry"

// kernelVariable names the kernel that a runtime built for tests pretends to have.
const kernelVariable = "TARE_KERNEL"

// suite is prepared once, by the first test that needs it.
var suite = sync.OnceValues(prepare)

func TestMain(m *testing.M) {
	// What a detached runtime leaves becomes our child, so that reapStrangers can end it: a process
	// namespace does not end before every process in it has been waited for.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "become a subreaper:", err)
	}
	stop := make(chan struct{})
	go reapStrangers(stop)
	code := m.Run()
	close(stop)
	if p, err := suite(); err == nil {
		os.RemoveAll(p.dir)
	}
	os.Exit(code)
}

func prepare() (programs, error) {
	dir, err := os.MkdirTemp("", "tare-runtime-test")
	if err != nil {
		return programs{}, err
	}
	p := programs{dir: dir}
	// Unprivileged runtimes must be able to walk through.
	if err := os.Chmod(dir, 0o755); err != nil {
		return p, err
	}
	if p.probe, err = binary("TARE_PROBE", filepath.Join(dir, "probe"), "tare.dev/tare/test/runtime/probe"); err != nil {
		return p, err
	}
	if p.runtime, err = binary("TARE_RUNTIME", filepath.Join(dir, "tare"), "tare.dev/tare/cmd/tare", entryFlags); err != nil {
		return p, err
	}
	if filepath.Base(p.runtime) == "tare" {
		link := filepath.Join(dir, "tare-runtime")
		if err := os.Symlink(p.runtime, link); err != nil {
			return p, err
		}
		p.runtime = link
	}
	out, err := exec.Command(p.runtime, "--version").CombinedOutput()
	if err != nil {
		return p, fmt.Errorf("%s --version: %w: %s", p.runtime, err, out)
	}
	for _, name := range []string{"crun", "runc", "tare"} {
		if strings.Contains(strings.ToLower(string(out)), name) {
			p.name = name
			break
		}
	}
	return p, nil
}

// binary is the file the environment variable names, or what building pkg gives.
func binary(variable, path, pkg string, flags ...string) (string, error) {
	if named := os.Getenv(variable); named != "" {
		return filepath.Abs(named)
	}
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, out)
	}
	return path, nil
}

func programsUnderTest(t *testing.T) programs {
	t.Helper()
	p, err := suite()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// peerLacks skips where an older runtime, run for comparison, is known to differ from the specification.
func peerLacks(t *testing.T, why string, names ...string) {
	t.Helper()
	p := programsUnderTest(t)
	for _, n := range names {
		if n == p.name {
			t.Skipf("%s: %s", n, why)
		}
	}
}

// result is what one call of the runtime printed and how it ended.
type result struct {
	call           string
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("%s: exit %d\nstdout: %s\nstderr: %s", r.call, r.code, clip(r.stdout), clip(r.stderr))
}

func clip(s string) string {
	if len(s) > 2000 {
		return s[:2000] + "…"
	}
	return s
}

// invocation is one call of a program under test.
type invocation struct {
	path       string
	args       []string
	env        []string // in addition to a short fixed environment
	dir        string
	stdin      *os.File
	extra      []*os.File // descriptors from 3 on
	credential *syscall.Credential
	cgroup     *os.File // a control group of version 2 to start in
	terminal   bool     // standard input is a terminal, to be the controlling one
	timeout    time.Duration
	out, err   *os.File // where given, these receive the output
}

// call runs it to its end. Output goes to memory files, not to pipes: a detached container keeps
// them open, and a pipe's reader would wait for it.
func call(t *testing.T, in invocation) result {
	t.Helper()
	cmd, out, errs := begin(t, in)
	limit := in.timeout
	if limit == 0 {
		limit = 30 * time.Second
	}
	timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	hung := !timer.Stop()
	r := result{call: filepath.Base(in.path) + " " + strings.Join(in.args, " "), code: cmd.ProcessState.ExitCode()}
	r.stdout, r.stderr = contents(out), contents(errs)
	if hung {
		t.Fatalf("still running after %v: %v", limit, r)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", r.call, err)
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		r.code = 128 + int(ws.Signal())
	}
	return r
}

// begin starts a call; the caller waits for it.
func begin(t *testing.T, in invocation) (cmd *exec.Cmd, out, errs *os.File) {
	t.Helper()
	out, errs = in.out, in.err
	if out == nil {
		out = memoryFile(t, "stdout")
	}
	if errs == nil {
		errs = memoryFile(t, "stderr")
	}
	cmd = exec.Command(in.path, in.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = in.dir, out, errs, in.extra
	if in.stdin != nil {
		cmd.Stdin = in.stdin
	}
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}, in.env...)
	if v := os.Getenv(kernelVariable); v != "" {
		cmd.Env = append(cmd.Env, kernelVariable+"="+v)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: in.credential, Setsid: in.terminal, Setctty: in.terminal}
	if in.cgroup != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(in.cgroup.Fd())
	}
	starting.RLock()
	defer starting.RUnlock()
	err := cmd.Start()
	// A program that was just copied is busy while a child forked in between still has it open for writing.
	for try := 0; errors.Is(err, unix.ETXTBSY) && try < 50; try++ {
		time.Sleep(10 * time.Millisecond)
		cmd = &exec.Cmd{Path: cmd.Path, Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir, Stdin: cmd.Stdin, Stdout: cmd.Stdout, Stderr: cmd.Stderr, ExtraFiles: cmd.ExtraFiles, SysProcAttr: cmd.SysProcAttr}
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("%s: %v", in.path, err)
	}
	ours.Store(cmd.Process.Pid, true)
	return cmd, out, errs
}

// ours holds the processes that some test waits for itself. starting is held while one is made and
// entered, so that reapStrangers never sees one that is not entered yet.
var (
	ours     sync.Map
	starting sync.RWMutex
)

// patience is how many looks a dead child must outlast to be a stranger: what a test runs by os/exec
// directly is waited for at once.
const patience = 6

// reapStrangers waits for dead children that nobody else waits for.
func reapStrangers(stop <-chan struct{}) {
	suspects := map[int]int{}
	for {
		select {
		case <-stop:
			return
		case <-time.After(15 * time.Millisecond):
		}
		next := map[int]int{}
		starting.Lock()
		for _, pid := range deadChildren() {
			if _, known := ours.Load(pid); known {
				continue
			}
			next[pid] = suspects[pid] + 1
			if next[pid] >= patience {
				unix.Wait4(pid, nil, unix.WNOHANG, nil)
			}
		}
		starting.Unlock()
		suspects = next
	}
}

func deadChildren() []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		text, _ := os.ReadFile(f)
		// "PID (NAME) STATE PPID ...", where the name may hold anything.
		f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		pid, err := strconv.Atoi(strings.SplitN(string(text), " ", 2)[0])
		if err == nil && len(f) > 1 && f[0] == "Z" && f[1] == strconv.Itoa(os.Getpid()) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// finish waits for what begin started, but not for ever.
func finish(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	timer := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
	cmd.Wait()
	if !timer.Stop() {
		t.Errorf("%s: still running after 10 s", strings.Join(cmd.Args, " "))
	}
	return cmd.ProcessState.ExitCode()
}

func memoryFile(t *testing.T, name string) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatalf("memfd_create: %v", err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	return f
}

// contents reads a file from its start without moving the offset its writers share.
func contents(f *os.File) string {
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	b := make([]byte, st.Size())
	n, _ := f.ReadAt(b, 0)
	return string(b[:n])
}

// eventually polls, because what it waits for happens in processes that do not report to us.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(3 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("after 10 s: not %s", what)
}

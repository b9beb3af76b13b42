package runtimetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/test/runtime/report"
)

// bundle is one container from config.json to its removal.
type bundle struct {
	t       *testing.T
	id      string
	scratch string // everything of this test on disk
	dir     string // the bundle
	root    string // --root
	token   string // in the environment of all that belongs to the test
	Spec    *specs.Spec

	runtime    string
	global     []string // options before the command
	env        []string // for the runtime
	extra      []*os.File
	stdin      *os.File
	credential *syscall.Credential
	cgroup     *os.File
	out, err   *os.File // of the container made by create
}

// serial makes the names of containers unique within this process.
var serial atomic.Int64

// newBundle makes a bundle that runs the probe with these arguments, in the namespaces and with the
// mounts that "runc spec" proposes. The container and all it left are removed with the test.
func newBundle(t *testing.T, args ...string) *bundle {
	t.Helper()
	needRoot(t)
	p := programsUnderTest(t)
	id := fmt.Sprintf("tt%d-%d", os.Getpid(), serial.Add(1))
	b := &bundle{t: t, id: id, runtime: p.runtime, token: "TARE_TEST_TOKEN=" + id}
	b.scratch = filepath.Join(p.dir, id)
	b.dir, b.root = filepath.Join(b.scratch, "bundle"), filepath.Join(b.scratch, "state")
	for _, d := range []string{b.dir, b.root} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.out, b.err = memoryFile(t, "stdout"), memoryFile(t, "stderr")
	makeRootfs(t, b.rootfs(), p.probe)
	b.Spec = defaultSpec(append([]string{"/probe"}, args...))
	b.Spec.Linux.CgroupsPath = "/" + id
	b.Spec.Process.Env = append(b.Spec.Process.Env, b.token)
	t.Cleanup(b.cleanup)
	return b
}

func (b *bundle) rootfs() string { return filepath.Join(b.dir, "rootfs") }

// path names a file of the test outside of the bundle.
func (b *bundle) path(elem ...string) string {
	return filepath.Join(append([]string{b.scratch}, elem...)...)
}

// inRoot names a file of the root file system, from outside.
func (b *bundle) inRoot(elem ...string) string {
	return filepath.Join(append([]string{b.rootfs()}, elem...)...)
}

func makeRootfs(t *testing.T, dir, probe string) {
	t.Helper()
	for _, d := range []string{"proc", "sys", "dev", "tmp", "etc", "root", "data", "bin"} {
		mustMkdir(t, filepath.Join(dir, d))
	}
	must(t, os.Chmod(filepath.Join(dir, "tmp"), 0o777|os.ModeSticky))
	copyFile(t, probe, filepath.Join(dir, "probe"), 0o755)
	mustWrite(t, filepath.Join(dir, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
	mustWrite(t, filepath.Join(dir, "etc/group"), "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")
}

// copyFile links where it can: the probe is the same file in every bundle that does not change it.
func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	if os.Link(from, to) == nil {
		return
	}
	reallyCopy(t, from, to, mode)
}

func reallyCopy(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	in, err := os.Open(from)
	must(t, err)
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	must(t, err)
	_, err = io.Copy(out, in)
	must(t, errors.Join(err, out.Close()))
	must(t, os.Chmod(to, mode))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustMkdir(t *testing.T, dir string) string {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	return dir
}

func mustWrite(t *testing.T, path, text string) string {
	t.Helper()
	mustMkdir(t, filepath.Dir(path))
	must(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// do has the probe try commands in turn, each given as words.
func (b *bundle) do(commands ...string) []report.Result {
	b.t.Helper()
	b.Spec.Process.Args = doArgs(commands)
	return b.results(b.mustRun().stdout)
}

func doArgs(commands []string) []string {
	args := []string{"/probe", "do"}
	for _, c := range commands {
		args = append(append(args, strings.Fields(c)...), ",")
	}
	return args
}

func (b *bundle) results(stdout string) []report.Result {
	b.t.Helper()
	var r []report.Result
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		b.t.Fatalf("probe printed %q: %v", clip(stdout), err)
	}
	return r
}

// report runs the container for what the probe sees in it.
func (b *bundle) report() report.Report {
	b.t.Helper()
	b.Spec.Process.Args = []string{"/probe", "report"}
	return b.decode(b.mustRun())
}

func (b *bundle) decode(r result) report.Report {
	b.t.Helper()
	var rep report.Report
	if err := json.Unmarshal([]byte(r.stdout), &rep); err != nil {
		b.t.Fatalf("not a report: %v\n%v", err, r)
	}
	return rep
}

// write stores config.json.
func (b *bundle) write() {
	b.t.Helper()
	text, err := json.MarshalIndent(b.Spec, "", " ")
	must(b.t, err)
	must(b.t, os.WriteFile(filepath.Join(b.dir, "config.json"), text, 0o644))
}

func (b *bundle) invocation(args ...string) invocation {
	return invocation{
		path: b.runtime, args: append(append([]string{"--root", b.root}, b.global...), args...),
		env: append([]string{b.token}, b.env...), extra: b.extra, stdin: b.stdin, credential: b.credential, cgroup: b.cgroup,
	}
}

// cli calls the runtime and accepts any outcome.
func (b *bundle) cli(args ...string) result {
	b.t.Helper()
	return call(b.t, b.invocation(args...))
}

// must calls the runtime and wants success.
func (b *bundle) must(args ...string) result {
	b.t.Helper()
	r := b.cli(args...)
	if r.code != 0 {
		b.t.Fatal(r)
	}
	return r
}

// refused calls the runtime and wants an error that says all of these.
func (b *bundle) refused(says []string, args ...string) result {
	b.t.Helper()
	r := b.cli(args...)
	wantRefusal(b.t, r, says...)
	return r
}

func wantRefusal(t *testing.T, r result, says ...string) {
	t.Helper()
	if r.code == 0 {
		t.Errorf("accepted, want an error: %v", r)
		return
	}
	if strings.TrimSpace(r.stderr) == "" {
		t.Errorf("no word on stderr: %v", r)
	}
	if strings.Contains(r.stderr, "goroutine ") {
		t.Errorf("it crashed: %v", r)
	}
	for _, s := range says {
		if !strings.Contains(r.stderr, s) {
			t.Errorf("the error does not say %q: %v", s, r)
		}
	}
}

func (b *bundle) run(options ...string) result {
	b.t.Helper()
	b.write()
	return b.cli(append(append([]string{"run", "--bundle", b.dir}, options...), b.id)...)
}

func (b *bundle) mustRun(options ...string) result {
	b.t.Helper()
	r := b.run(options...)
	if r.code != 0 {
		b.t.Fatal(r)
	}
	return r
}

// tryCreate calls create; the container's output is kept in b.out and b.err.
func (b *bundle) tryCreate(options ...string) result {
	b.t.Helper()
	b.write()
	in := b.invocation(append(append([]string{"create", "--bundle", b.dir}, options...), b.id)...)
	in.out, in.err = b.out, b.err
	return call(b.t, in)
}

func (b *bundle) create(options ...string) {
	b.t.Helper()
	if r := b.tryCreate(options...); r.code != 0 {
		b.t.Fatal(r)
	}
}

func (b *bundle) start() {
	b.t.Helper()
	b.must("start", b.id)
}

// up creates and starts the container and waits until its program says that it runs.
func (b *bundle) up(options ...string) *bundle {
	b.t.Helper()
	b.create(options...)
	b.start()
	b.ready()
	return b
}

func (b *bundle) ready() {
	b.t.Helper()
	eventually(b.t, "ready: "+contents(b.err), func() bool { return strings.Contains(contents(b.out), "ready\n") })
}

// state asks the runtime; extra fields of runtimes are in the map.
func (b *bundle) state() (specs.State, map[string]any) {
	b.t.Helper()
	r := b.must("state", b.id)
	var s specs.State
	var all map[string]any
	if err := errors.Join(json.Unmarshal([]byte(r.stdout), &s), json.Unmarshal([]byte(r.stdout), &all)); err != nil {
		b.t.Fatalf("state: %v\n%v", err, r)
	}
	return s, all
}

func (b *bundle) status() specs.ContainerState {
	b.t.Helper()
	s, _ := b.state()
	return s.Status
}

func (b *bundle) pid() int {
	b.t.Helper()
	s, _ := b.state()
	return s.Pid
}

// stopped waits until the container's process has ended.
func (b *bundle) stopped() {
	b.t.Helper()
	eventually(b.t, "stopped", func() bool { return b.status() == specs.StateStopped })
}

// exec runs a program in the container: options come before "--" where there is one.
func (b *bundle) exec(args ...string) result {
	b.t.Helper()
	for i, a := range args {
		if a == "--" {
			return b.cli(append(append(append([]string{"exec"}, args[:i]...), b.id), args[i+1:]...)...)
		}
	}
	return b.cli(append([]string{"exec", b.id}, args...)...)
}

func (b *bundle) mustExec(args ...string) result {
	b.t.Helper()
	r := b.exec(args...)
	if r.code != 0 {
		b.t.Fatal(r)
	}
	return r
}

func (b *bundle) execDo(commands ...string) []report.Result {
	b.t.Helper()
	return b.results(b.mustExec(doArgs(commands)...).stdout)
}

// destroy removes the container as an engine does and then looks for what is left.
func (b *bundle) destroy() {
	b.t.Helper()
	b.must("delete", "--force", b.id)
	for _, l := range b.leftovers() {
		b.t.Errorf("delete left %s", l)
	}
}

// cleanup removes the container by force, and fails the test if that left anything.
func (b *bundle) cleanup() {
	r := b.cli("delete", "--force", b.id)
	left := b.leftovers()
	if len(left) > 0 && !b.t.Failed() {
		b.t.Errorf("left behind: %s\n%v", strings.Join(left, "\n  "), r)
	}
	killAll(b.processes())
	b.removeCgroups()
	for i := 0; i < 20 && len(mountsBelow(b.scratch)) > 0; i++ {
		for _, m := range mountsBelow(b.scratch) {
			unix.Unmount(m, unix.MNT_DETACH)
		}
	}
	if b.t.Failed() && os.Getenv("TARE_TEST_KEEP") != "" {
		return
	}
	os.RemoveAll(b.scratch)
}

// leftovers names what of this container is still on the machine.
func (b *bundle) leftovers() []string {
	var left []string
	// A killed process may take a moment to go.
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left = nil
		for _, pid := range b.processes() {
			left = append(left, "process "+describe(pid))
		}
		if len(left) == 0 || time.Now().After(end) {
			break
		}
	}
	for _, m := range mountsBelow(b.rootfs()) {
		left = append(left, "mount "+m)
	}
	for _, d := range b.cgroupDirs() {
		left = append(left, "cgroup "+d)
	}
	if _, err := os.Lstat(filepath.Join(b.root, b.id)); err == nil {
		left = append(left, "state "+filepath.Join(b.root, b.id))
	}
	return left
}

// processes finds what carries the test's token in its environment.
func (b *bundle) processes() []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		env, err := os.ReadFile(d + "/environ")
		if err != nil || !strings.Contains("\x00"+string(env)+"\x00", "\x00"+b.token+"\x00") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(d)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func describe(pid int) string {
	cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	stack, _ := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", pid))
	return fmt.Sprintf("%d (%s) in %s", pid, strings.ReplaceAll(strings.TrimRight(string(cmd), "\x00"), "\x00", " "), stack)
}

func killAll(pids []int) {
	for _, pid := range pids {
		unix.Kill(pid, unix.SIGKILL)
	}
}

// mountsBelow lists mount points of this namespace at or below dir, deepest first.
func mountsBelow(dir string) []string {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	var found []string
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) > 4 && (f[4] == dir || strings.HasPrefix(f[4], dir+"/")) {
			found = append([]string{f[4]}, found...)
		}
	}
	return found
}

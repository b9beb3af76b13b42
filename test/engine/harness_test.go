// Package enginetest drives tare daemon with docker's own client, kills it at every moment, and looks at
// what is left.
//
// The program is the one beside what TARE_RUNTIME names; without that, it is built. All runs in a mount
// and a network namespace of the test's own.
package enginetest

import (
	"bytes"
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

	"tare.dev/tare/test/rootfs"
)

const insideVariable = "TARE_ENGINE_TEST_INSIDE"

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(insideVariable) != "" {
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

var built struct {
	dir  string
	once sync.Once
	path string
	err  error
}

func inside(m *testing.M) int {
	if os.Getenv(insideVariable) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			fmt.Fprintln(os.Stderr, "make mounts private:", err)
			return 1
		}
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "ip link set lo up: %v\n%s", err, out)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "tare-engine-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built.dir = dir
	return m.Run()
}

func program(t *testing.T) string {
	t.Helper()
	if named := os.Getenv("TARE_RUNTIME"); named != "" {
		return filepath.Join(filepath.Dir(named), "tare")
	}
	built.once.Do(func() {
		built.path = filepath.Join(built.dir, "tare")
		cmd := exec.Command("go", "build", "-o", built.path, "-ldflags=-s -w -E=tare.dev/tare/internal/sysprog.entry", "tare.dev/tare/cmd/tare")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build tare: %w\n%s", err, out)
		}
	})
	must(t, built.err)
	return built.path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A device has the program, a root, a run directory in memory, and a daemon.
type device struct {
	t         *testing.T
	path      string
	dir       string
	root, run string
	keeper    *exec.Cmd
	log       string
	flags     []string // further ones of the daemon
}

// newDevice has the image box, of busybox, and its daemon runs. At its end nothing may be left.
func newDevice(t *testing.T) *device {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN")
	}
	dir, err := os.MkdirTemp("", "te-") // short: the path of a socket has at most 107 bytes
	must(t, err)
	d := &device{t: t, path: program(t), dir: dir, root: filepath.Join(dir, "root"), run: filepath.Join(dir, "run"), log: filepath.Join(dir, "log")}
	must(t, os.Mkdir(d.run, 0o755))
	must(t, unix.Mount("run", d.run, "tmpfs", 0, "mode=755"))
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(d.log)
			t.Logf("daemon: %s", text[max(0, len(text)-4000):])
		}
		d.wipe()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	box := filepath.Join(dir, "box")
	must(t, rootfs.Busybox(box))
	if out, err := exec.Command("tar", "-C", box, "-cf", box+".tar", ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	if out, err := exec.Command(d.path, "--root", d.root, "--run", d.run, "import", "-q", box+".tar", "box").CombinedOutput(); err != nil {
		t.Fatalf("tare import: %v\n%s", err, out)
	}
	d.start()
	return d
}

// start starts the daemon.
func (d *device) start() {
	d.t.Helper()
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(d.t, err)
	defer log.Close()
	d.keeper = exec.Command(d.path, append([]string{"--root", d.root, "--run", d.run, "daemon"}, d.flags...)...)
	d.keeper.Stdout, d.keeper.Stderr = log, log
	d.keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	must(d.t, d.keeper.Start())
	d.eventually("the daemon answers", func() bool { return d.docker("version").code == 0 })
}

// stop ends the daemon, and leaves the containers.
func (d *device) stop() {
	d.t.Helper()
	if d.keeper == nil {
		return
	}
	must(d.t, d.keeper.Process.Signal(unix.SIGTERM))
	_ = d.keeper.Wait() // the next start shows what it did
	d.keeper = nil
}

// wipe ends everything, as a power cut would, and takes away what is in memory.
func (d *device) wipe() {
	if d.keeper != nil {
		_ = d.keeper.Process.Kill()
		if engine := d.engine(); engine > 0 {
			_ = unix.Kill(engine, unix.SIGKILL)
		}
		_ = d.keeper.Wait()
		d.keeper = nil
	}
	for range 100 {
		pids := d.processes()
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(10 * time.Millisecond)
	}
	ids, _ := os.ReadDir(filepath.Join(d.run, "runtime"))
	for _, id := range ids { // a boot would take them
		groups, _ := filepath.Glob("/sys/fs/cgroup/*/tare/" + id.Name())
		for _, dir := range append(groups, "/sys/fs/cgroup/tare/"+id.Name()) {
			_ = unix.Rmdir(dir) // or it is not there
		}
	}
	text, err := os.ReadFile("/proc/self/mounts")
	must(d.t, err)
	lines := strings.Split(string(text), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if f := strings.Fields(lines[i]); len(f) > 1 && (f[1] == d.run || strings.HasPrefix(f[1], d.run+"/")) {
			_ = unix.Unmount(f[1], unix.MNT_DETACH)
		}
	}
}

// reboot is a power cut and the start after it.
func (d *device) reboot() {
	d.t.Helper()
	d.wipe()
	must(d.t, unix.Mount("run", d.run, "tmpfs", 0, "mode=755"))
	d.start()
}

// engine is the engine's process; 0: there is none at the moment.
func (d *device) engine() int {
	for _, pid := range children(d.keeper.Process.Pid) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.Contains(string(line), "daemon\x00") {
			return pid
		}
	}
	return 0
}

// kill kills the engine, and returns when there is another one.
func (d *device) kill() {
	d.t.Helper()
	var pid int
	d.eventually("there is an engine", func() bool { pid = d.engine(); return pid > 0 })
	must(d.t, unix.Kill(pid, unix.SIGKILL))
	d.eventually("there is another engine", func() bool { now := d.engine(); return now > 0 && now != pid })
}

func children(pid int) []int {
	var list []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // each thread has its own
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for f := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(f); err == nil {
				list = append(list, n)
			}
		}
	}
	return list
}

// processes are those in the containers of this device, by their control groups.
func (d *device) processes() []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		mounts, err := os.ReadFile(filepath.Join("/proc", e.Name(), "mountinfo"))
		group, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cgroup"))
		if err == nil && strings.Contains(string(group), "/tare/") && strings.Contains(string(mounts), d.dir+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

type result struct {
	out, err string
	code     int
}

// client is a command of docker's.
func (d *device) client(args ...string) *exec.Cmd {
	path, err := exec.LookPath("docker")
	if err != nil {
		d.t.Skip("docker is not installed")
	}
	cmd := exec.Command(path, append([]string{"--host", "unix://" + d.run + "/tare.sock"}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+d.dir, "DOCKER_CLI_HINTS=false")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (d *device) docker(args ...string) result { return d.with("", args...) }

func (d *device) with(stdin string, args ...string) result {
	d.t.Helper()
	return finish(d.t, d.client(args...), stdin)
}

func finish(t *testing.T, cmd *exec.Cmd, stdin string) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Stdin = &out, &errs, strings.NewReader(stdin)
	cmd.WaitDelay = time.Second
	must(t, cmd.Start())
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	_ = cmd.Wait() // the exit status tells
	if !timer.Stop() {
		t.Fatalf("%s: still running\n%s%s", strings.Join(cmd.Args, " "), &out, &errs)
	}
	return result{strings.TrimSuffix(out.String(), "\n"), errs.String(), cmd.ProcessState.ExitCode()}
}

// must returns what docker printed.
func (d *device) must(args ...string) string {
	d.t.Helper()
	r := d.docker(args...)
	if r.code != 0 {
		d.t.Fatalf("docker %s: exit status %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r.out
}

func (d *device) state(name string) string {
	return d.docker("inspect", "--format", "{{.State.Status}}", name).out
}

func (d *device) eventually(what string, is func() bool) {
	d.t.Helper()
	for start := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			d.t.Fatalf("not so: %s", what)
		}
	}
}

// clean fails when anything is left of the containers, which are all removed.
func (d *device) clean() {
	d.t.Helper()
	if ids := d.must("ps", "--all", "--quiet"); ids != "" {
		d.t.Errorf("containers: %s", ids)
	}
	d.eventually("no process is left", func() bool { return len(d.processes()) == 0 })
	text, err := os.ReadFile("/proc/self/mounts")
	must(d.t, err)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); strings.HasPrefix(f[1], d.run+"/containers/") {
			d.t.Errorf("mount: %s", line)
		}
	}
	for _, dir := range []string{d.run + "/containers", d.run + "/runtime", d.root + "/engine/containers"} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			d.t.Error(err)
		}
		for _, e := range entries {
			d.t.Errorf("file: %s/%s", dir, e.Name())
		}
	}
	links, err := exec.Command("ip", "-o", "link", "show", "type", "veth").Output()
	must(d.t, err)
	if len(links) > 0 {
		d.t.Errorf("interfaces: %s", links)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

package images

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tare.dev/tare/test/built"
	"tare.dev/tare/test/rootfs"
)

// limit is how long any one command may take.
const limit = 5 * time.Minute

// needRoot skips the test for an ordinary user.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("must run as root: files have owners and devices")
	}
}

func needProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed (see packages.txt)", name)
	}
	return path
}

func TestMain(m *testing.M) { os.Exit(built.Run(m)) }

// A device is one with a store of its own.
type device struct {
	t    *testing.T
	root string
	run  string
	peak int64 // the most memory a command had, in KiB
}

func newDevice(t *testing.T) *device {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	return &device{t: t, root: filepath.Join(dir, "root"), run: filepath.Join(dir, "run")}
}

// result is what a command did.
type result struct {
	out, err string
	code     int
}

// do runs tare.
func (d *device) do(args ...string) result { return d.with(nil, args...) }

// with runs tare with standard input.
func (d *device) with(in *os.File, args ...string) result {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, built.Tare(d.t), append([]string{"--root", d.root, "--run", d.run}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if in != nil {
		cmd.Stdin = in
	}
	if err := cmd.Start(); err != nil {
		d.t.Fatalf("tare %s: %v", strings.Join(args, " "), err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // the exit status tells
	}()
	d.peak = max(d.peak, peak(cmd.Process.Pid, ended))
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// peak watches the memory of a process in KiB until it has ended. The ru_maxrss of a child begins with
// the parent's memory, which the two shared before the exec; VmHWM does not (proc(5)).
func peak(pid int, ended chan struct{}) int64 {
	var most int64
	for {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // it may have ended
		for line := range strings.Lines(string(text)) {
			var now int64
			if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &now); err == nil && executed(pid) {
				most = max(most, now)
			}
		}
		select {
		case <-ended:
			return most
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// executed tells whether a child is the program already, and not yet a copy of the test.
func executed(pid int) bool {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	self, _ := os.Readlink("/proc/self/exe") // it has one
	return err == nil && path != self
}

// must runs tare and returns what it printed, without the last line's end.
func (d *device) must(args ...string) string {
	d.t.Helper()
	r := d.do(args...)
	if r.code != 0 {
		d.t.Fatalf("tare %s: exit status %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return strings.TrimSuffix(r.out, "\n")
}

// run runs another program.
func run(t *testing.T, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// debian is a root file system of real packages, as a tar file.
func debian(t *testing.T) string {
	t.Helper()
	needRoot(t)
	needProgram(t, "mmdebstrap")
	archive, err := rootfs.Base().Archive(t.Context(), "../../build/rootfs")
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

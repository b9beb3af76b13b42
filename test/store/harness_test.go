// Package storetest proves the image store against power cuts, full and failing disks, killed
// processes, bad networks, lying registries and hostile images: the built program, on real file
// systems.
//
// The program is the one beside what TARE_RUNTIME names; without that, it is built. TARE_CRASH_STATES
// is how many states after a power cut are tried on each file system, for those who have more time.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const insideVariable = "TARE_STORE_TEST_INSIDE"

// TestMain runs the tests in a mount namespace of their own: however they end, their mounts and with
// them their loop devices go away.
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "run in a mount namespace:", err)
		os.Exit(1)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

func inside(m *testing.M) int {
	if os.Getenv(insideVariable) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			fmt.Fprintln(os.Stderr, "make mounts private:", err)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "tare-store-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build.dir = dir
	return m.Run()
}

// build makes the programs under test, each once.
var build struct {
	dir          string
	mu           sync.Mutex
	plain, fault string
}

// program is tare as it is shipped.
func program(t *testing.T) string {
	t.Helper()
	build.mu.Lock()
	defer build.mu.Unlock()
	if build.plain == "" {
		build.plain = compile(t, "TARE_RUNTIME", "tare")
	}
	return build.plain
}

// faultyProgram is tare with the faults of the build tag.
func faultyProgram(t *testing.T) string {
	t.Helper()
	build.mu.Lock()
	defer build.mu.Unlock()
	if build.fault == "" {
		build.fault = compile(t, "TARE_FAULT_RUNTIME", "tare-faults", "-tags", "faultinject")
	}
	return build.fault
}

func compile(t *testing.T, variable, name string, flags ...string) string {
	t.Helper()
	if named := os.Getenv(variable); named != "" {
		path, err := filepath.Abs(named)
		must(t, err)
		if filepath.Base(path) == "tare-runtime" { // a link beside the program
			path = filepath.Join(filepath.Dir(path), "tare")
		}
		return path
	}
	path := filepath.Join(build.dir, name)
	args := append([]string{"build", "-o", path, "-ldflags=-s -w -E=tare.dev/tare/internal/sysprog.entry"}, flags...)
	cmd := exec.Command("go", append(args, "tare.dev/tare/cmd/tare")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// A device is a root directory with the program that works on it.
type device struct {
	path string // of the program
	root string
	env  []string
}

// result is how a call ended.
type result struct {
	call           string
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("%s: exit %d\nstdout: %.2000s\nstderr: %.2000s", r.call, r.code, r.stdout, r.stderr)
}

// command is one that has not started yet.
func (d device) command(args ...string) *exec.Cmd {
	all := append([]string{"--root", d.root, "--run", filepath.Join(d.root, "run")}, args...)
	cmd := exec.Command(d.path, all...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent"}, d.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// patience is how long a command may take on a busy machine.
const patience = 2 * time.Minute

// try runs a command to its end.
func (d device) try(t *testing.T, args ...string) result {
	t.Helper()
	cmd := d.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	must(t, cmd.Start())
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	hung := !timer.Stop()
	r := result{strings.Join(args, " "), out.String(), errs.String(), cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", r.call, err)
	}
	if hung {
		t.Fatalf("still running after %v: %v", patience, r)
	}
	return r
}

// must runs a command that succeeds.
func (d device) must(t *testing.T, args ...string) result {
	t.Helper()
	r := d.try(t, args...)
	if r.code != 0 {
		t.Fatal(r)
	}
	return r
}

// refused runs a command that fails, and returns the one line it says.
func (d device) refused(t *testing.T, args ...string) string {
	t.Helper()
	r := d.try(t, args...)
	line := strings.TrimSuffix(r.stderr, "\n")
	if r.code != 1 || r.stdout != "" || !strings.HasPrefix(line, "tare: ") || strings.Contains(line, "\n") {
		t.Fatalf("want exit 1 and one line of error: %v", r)
	}
	return line
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN")
	}
}

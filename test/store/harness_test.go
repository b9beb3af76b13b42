// Package storetest proves the image store against power cuts, full and failing disks, killed
// processes, bad networks, lying registries and hostile images: the built program, on real file
// systems.
//
// TARE_CRASH_STATES is how many states after a power cut are tried on each file system, for those who have
// more time.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tare.dev/tare/test/built"
)

// TestMain runs the tests in a mount namespace of their own.
func TestMain(m *testing.M) { os.Exit(built.RunAlone(m)) }

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

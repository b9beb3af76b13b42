// Package built has the programs that tests are about: those that TARE_RUNTIME and TARE_FAULT_RUNTIME name or
// stand beside, or else built from the source, once for the tests of a package.
package built

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Run runs the tests of a package, for its TestMain, and removes what was built for them.
func Run(m *testing.M) int {
	defer func() {
		if dir, err := scratch(); err == nil {
			os.RemoveAll(dir)
		}
	}()
	return m.Run()
}

const insideVariable = "TARE_TEST_INSIDE"

// RunAlone is Run in a mount namespace of its own: however the tests end, their mounts and with them their
// loop devices go away. Tests of ordinary users are left where they are.
func RunAlone(m *testing.M) int {
	if os.Geteuid() != 0 {
		return Run(m)
	}
	if os.Getenv(insideVariable) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			fmt.Fprintln(os.Stderr, "make mounts private:", err)
			return 1
		}
		return Run(m)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		fmt.Fprintln(os.Stderr, "run in a mount namespace:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// Tare is the program of the device as it is shipped.
func Tare(t testing.TB) string { return path(t, tare) }

// Faulty is tare with the faults of the build tag faultinject.
func Faulty(t testing.TB) string { return path(t, faulty) }

// Kit is the program of the workstation.
func Kit(t testing.TB) string { return path(t, kit) }

func path(t testing.TB, find func() (string, error)) string {
	t.Helper()
	found, err := find()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var (
	scratch = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "tare-built-") })
	tare    = sync.OnceValues(func() (string, error) { return named("TARE_RUNTIME", "tare") })
	faulty  = sync.OnceValues(func() (string, error) { return named("TARE_FAULT_RUNTIME", "tare", "-tags", "faultinject") })
	kit     = sync.OnceValues(func() (string, error) { return build("tarekit") })
)

// named is the program a variable names, or is built.
func named(variable, name string, flags ...string) (string, error) {
	path := os.Getenv(variable)
	if path == "" {
		return build(name, flags...)
	}
	if filepath.Base(path) == "tare-runtime" { // a link beside the program
		path = filepath.Join(filepath.Dir(path), name)
	}
	return filepath.Abs(path)
}

// build builds a command as the Makefile does.
func build(name string, flags ...string) (string, error) {
	dir, err := scratch()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, fmt.Sprint(name, len(flags)))
	args := []string{"build", "-trimpath", "-o", path}
	if name == "tare" {
		args = append(args, "-ldflags=-s -w -E=tare.dev/tare/internal/sysprog.entry")
	}
	cmd := exec.Command("go", append(append(args, flags...), "tare.dev/tare/cmd/"+name)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

package runtimetest

import (
	"fmt"
	"os"
	"testing"
)

// CVE-2024-21626: the working directory is /proc/self/fd/N, where N is a directory of the host that the
// runtime has open; from there the host's files are in reach.
func TestAttackWorkingDirectoryIsADescriptorOfTheRuntime(t *testing.T) {
	t.Parallel()
	peerLacks(t, "is older than the cure", "crun")
	b := newBundle(t)
	marker := mustWrite(t, b.path("marker"), "of the host")
	b.Spec.Process.Args = []string{"/probe", "scan-fds", marker}
	must(t, os.Symlink("/proc/self/fd/7", b.inRoot("cwdlink")))
	dir, err := os.Open("/") // one that the caller leaks on purpose
	must(t, err)
	defer dir.Close()
	b.extra = []*os.File{dir}
	cwds := []string{"/cwdlink", "/proc/self/cwd", "/proc/1/cwd", "/proc/self/root"}
	for fd := range 16 {
		cwds = append(cwds, fmt.Sprintf("/proc/self/fd/%d", fd+3))
	}
	for _, cwd := range cwds {
		b.Spec.Process.Cwd = cwd
		if r := b.run(); r.code == 0 && r.stdout != "" {
			t.Errorf("run in %s reaches the host through %s", cwd, r.stdout)
		}
	}
}

func TestAttackExecWorkingDirectoryIsADescriptorOfTheRuntime(t *testing.T) {
	t.Parallel()
	peerLacks(t, "is older than the cure", "crun")
	b := newBundle(t, "sleep", "60")
	marker := mustWrite(t, b.path("marker"), "of the host")
	must(t, os.Symlink("/proc/self/fd/7", b.inRoot("cwdlink")))
	b.up()
	dir, err := os.Open("/")
	must(t, err)
	defer dir.Close()
	b.extra = []*os.File{dir}
	cwds := []string{"/", "/cwdlink", "/proc/self/cwd"}
	for fd := range 12 {
		cwds = append(cwds, fmt.Sprintf("/proc/self/fd/%d", fd+3))
	}
	for _, cwd := range cwds {
		if r := b.exec("--cwd", cwd, "--", "/probe", "scan-fds", marker); r.code == 0 && r.stdout != "" {
			t.Errorf("exec in %s reaches the host through %s", cwd, r.stdout)
		}
	}
}

// Without any trick: nothing that is open or linked in /proc may lead out.
func TestAttackNothingLeadsOut(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60").caps("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH")
	marker := mustWrite(t, b.path("marker"), "of the host")
	b.up()
	if r := b.mustExec("/probe", "scan-fds", marker); r.stdout != "" {
		t.Errorf("the host is reached through %s", r.stdout)
	}
}

package runtimetest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// unifiedOnly is true where cgroup v2 is all there is.
func unifiedOnly() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

func needCgroupV2(t *testing.T) {
	t.Helper()
	needRoot(t)
	if !unifiedOnly() {
		t.Skip("needs a machine with cgroup v2 only")
	}
}

func needCgroupV1(t *testing.T) {
	t.Helper()
	needRoot(t)
	if unifiedOnly() {
		t.Skip("needs a machine with cgroup v1")
	}
}

// needController skips where no hierarchy has the controller.
func needController(t *testing.T, name string) {
	t.Helper()
	needRoot(t)
	if unifiedOnly() {
		b, _ := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
		if !strings.Contains(" "+strings.TrimSpace(string(b))+" ", " "+name+" ") {
			t.Skipf("needs the cgroup controller %s", name)
		}
		return
	}
	if hierarchies()[name] == "" {
		t.Skipf("needs a cgroup v1 hierarchy with %s", name)
	}
}

// needNamespace skips where the kernel has no such namespace.
func needNamespace(t *testing.T, name string) {
	t.Helper()
	needRoot(t)
	if !hasNamespace(t, name) {
		t.Skipf("needs %s namespaces", name)
	}
}

func hasNamespace(t *testing.T, name string) bool {
	t.Helper()
	_, err := os.Stat("/proc/self/ns/" + name)
	return err == nil && (name != "time" || kernelIs(t, 5, 6))
}

// kernelIs says whether this is Linux major.minor or later.
func kernelIs(t *testing.T, major, minor int) bool {
	t.Helper()
	a, b := kernelVersion(t)
	return a > major || a == major && b >= minor
}

// needKernel skips below Linux major.minor.
func needKernel(t *testing.T, major, minor int) {
	t.Helper()
	if a, b := kernelVersion(t); !kernelIs(t, major, minor) {
		t.Skipf("needs Linux %d.%d, this is %d.%d", major, minor, a, b)
	}
}

func kernelVersion(t *testing.T) (major, minor int) {
	t.Helper()
	if _, err := fmt.Sscanf(os.Getenv(kernelVariable), "%d.%d", &major, &minor); err == nil {
		return major, minor
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	for i, part := range bytes.SplitN(u.Release[:], []byte("."), 3) {
		n := 0
		for _, c := range part {
			if c < '0' || c > '9' {
				break
			}
			n = n*10 + int(c-'0')
		}
		switch i {
		case 0:
			major = n
		case 1:
			minor = n
		}
	}
	return major, minor
}

// needProgram gives the path of a program of the machine.
func needProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("needs the program %s", name)
	}
	return path
}

// needCapability skips where this process lacks a capability, as in a test machine that is itself confined.
func needCapability(t *testing.T, name string, bit uint) {
	t.Helper()
	needRoot(t)
	if ownCaps()&(1<<bit) == 0 {
		t.Skipf("needs %s", name)
	}
}

package runtimetest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// procName is the name in /proc/PID/ns of a namespace type of the specification.
var procName = map[specs.LinuxNamespaceType]string{
	specs.PIDNamespace: "pid", specs.NetworkNamespace: "net", specs.MountNamespace: "mnt", specs.IPCNamespace: "ipc",
	specs.UTSNamespace: "uts", specs.UserNamespace: "user", specs.CgroupNamespace: "cgroup", specs.TimeNamespace: "time",
}

func ownNamespace(t *testing.T, name string) string {
	t.Helper()
	target, err := os.Readlink("/proc/self/ns/" + name)
	must(t, err)
	return target
}

func TestNamespacesAreNewWhereListedAndInheritedWhereNot(t *testing.T) {
	t.Parallel()
	needNamespace(t, "time")
	peerLacks(t, "runc 1.1 has no time namespaces, crun 1.8 fails here", "runc", "crun")
	b := newBundle(t)
	b.namespace(specs.TimeNamespace, "")
	r := b.report()
	for kind, name := range procName {
		same := r.Namespaces[name] == ownNamespace(t, name)
		if want := kind == specs.UserNamespace; same != want {
			t.Errorf("%s namespace inherited: %v, want %v", kind, same, want)
		}
	}
	b = newBundle(t)
	b.Spec.Hostname = ""
	b.Spec.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	r = b.report()
	for kind, name := range procName {
		same := r.Namespaces[name] == ownNamespace(t, name)
		if want := kind != specs.MountNamespace; same != want {
			t.Errorf("%s namespace inherited: %v, want %v", kind, same, want)
		}
	}
}

// holder keeps new namespaces open in a process of its own.
func holder(t *testing.T, flags uintptr, attr *syscall.SysProcAttr) int {
	t.Helper()
	if attr == nil {
		attr = &syscall.SysProcAttr{}
	}
	attr.Cloneflags |= flags
	attr.Pdeathsig = syscall.SIGKILL
	cmd := exec.Command(programsUnderTest(t).probe, "sleep", "60")
	cmd.SysProcAttr = attr
	out, err := cmd.StdoutPipe()
	must(t, err)
	starting.RLock()
	err = cmd.Start()
	if err == nil {
		ours.Store(cmd.Process.Pid, true)
	}
	starting.RUnlock()
	must(t, err)
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	buf := make([]byte, 16)
	_, err = out.Read(buf) // "ready": it has left clone and execve behind
	must(t, err)
	return cmd.Process.Pid
}

func TestNamespacesAreJoinedByPath(t *testing.T) {
	t.Parallel()
	flags := map[specs.LinuxNamespaceType]uintptr{
		specs.NetworkNamespace: unix.CLONE_NEWNET, specs.IPCNamespace: unix.CLONE_NEWIPC, specs.UTSNamespace: unix.CLONE_NEWUTS,
		specs.PIDNamespace: unix.CLONE_NEWPID, specs.CgroupNamespace: unix.CLONE_NEWCGROUP, specs.MountNamespace: unix.CLONE_NEWNS,
	}
	for kind, flag := range flags {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			b := newBundle(t)
			pid := holder(t, flag, nil)
			path := fmt.Sprintf("/proc/%d/ns/%s", pid, procName[kind])
			want, err := os.Readlink(path)
			must(t, err)
			b.namespace(kind, path)
			if got := b.report().Namespaces[procName[kind]]; got != want {
				t.Errorf("%s namespace %s, want %s", kind, got, want)
			}
		})
	}
}

func TestNamespaceByBindMountedFileIsJoined(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	pid := holder(t, unix.CLONE_NEWNET, nil)
	file := mustWrite(t, b.path("netns"), "")
	must(t, unix.Mount(fmt.Sprintf("/proc/%d/ns/net", pid), file, "", unix.MS_BIND, ""))
	want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	must(t, err)
	b.namespace(specs.NetworkNamespace, file)
	if got := b.report().Namespaces["net"]; got != want {
		t.Errorf("network namespace %s, want %s", got, want)
	}
}

func TestContainersShareNamespacesAsAPod(t *testing.T) {
	t.Parallel()
	first := newBundle(t, "do", "sethostname", "pod", ",", "sysv", "make", "77", ",", "sleep", "60").caps("CAP_SYS_ADMIN")
	first.create()
	first.start()
	pid := first.pid()
	second := newBundle(t)
	for _, k := range []specs.LinuxNamespaceType{specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace} {
		second.namespace(k, fmt.Sprintf("/proc/%d/ns/%s", pid, procName[k]))
	}
	second.Spec.Hostname = ""
	second.Spec.Process.Args = doArgs([]string{"sysv find 77", "read /proc/1/comm", "report"})
	eventually(t, "shared", func() bool {
		r := second.results(second.mustRun().stdout)
		return r[0].Err == "" && r[1].Out == "probe" && strings.Contains(r[2].Out, `"Hostname":"pod"`)
	})
	if first.status() != specs.StateRunning {
		t.Error("the end of the second container ended the first")
	}
}

func TestHostnameAndDomainnameAreSet(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Hostname = "mrsdalloway"
	if r := b.report(); r.Hostname != "mrsdalloway" {
		t.Errorf("hostname %q", r.Hostname)
	}
	peerLacks(t, "has no domainname", "runc")
	b.Spec.Domainname = "foobarbaz.test"
	if r := b.report(); r.Domainname != "foobarbaz.test" {
		t.Errorf("domainname %q", r.Domainname)
	}
}

func TestLoopbackIsUpInANewNetworkNamespace(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	r := b.report()
	if lo := r.Interfaces["lo"]; !lo.Up || len(r.Interfaces) != 1 {
		t.Errorf("interfaces %v, want only lo, up", r.Interfaces)
	}
	got := b.do("listen 127.0.0.1:0")
	wantResults(b, got, "")
}

func TestPidNamespaceHidesOthersAndProcessIsOne(t *testing.T) {
	t.Parallel()
	r := newBundle(t).report()
	if r.Pid != 1 || len(r.Processes) != 1 {
		t.Errorf("pid %d, sees %v, want to be 1 and alone", r.Pid, r.Processes)
	}
	if r.Pgrp != 1 || r.Sid != 1 {
		t.Errorf("process group %d, session %d, want its own", r.Pgrp, r.Sid)
	}
}

func TestTimeNamespaceShiftsClocks(t *testing.T) {
	t.Parallel()
	needNamespace(t, "time")
	peerLacks(t, "runc 1.1 has no time namespaces, crun 1.8 fails here", "runc", "crun")
	b := newBundle(t).namespace(specs.TimeNamespace, "")
	const shift = 100_000
	b.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{
		"monotonic": {Secs: shift, Nanosecs: 5}, "boottime": {Secs: 2 * shift},
	}
	r := b.report()
	var mono, boot unix.Timespec
	must(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono))
	must(t, unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot))
	if d := r.Monotonic - int64(mono.Sec); d < shift-5 || d > shift+5 {
		t.Errorf("monotonic clock is shifted by %d s, want %d", d, shift)
	}
	if d := r.Boottime - int64(boot.Sec); d < 2*shift-5 || d > 2*shift+5 {
		t.Errorf("boot time is shifted by %d s, want %d", d, 2*shift)
	}
}

func TestTimeNamespaceIsJoinedByPath(t *testing.T) {
	t.Parallel()
	needNamespace(t, "time")
	peerLacks(t, "runc 1.1 has no time namespaces, crun 1.8 fails here", "runc", "crun")
	first := newBundle(t, "sleep", "60").namespace(specs.TimeNamespace, "")
	first.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 5000}}
	first.up()
	path := fmt.Sprintf("/proc/%d/ns/time", first.pid())
	want, err := os.Readlink(path)
	must(t, err)
	second := newBundle(t).namespace(specs.TimeNamespace, path)
	if got := second.report().Namespaces["time"]; got != want {
		t.Errorf("time namespace %s, want %s", got, want)
	}
}

func TestSharedNetworkNamespaceKeepsItsSettings(t *testing.T) {
	t.Parallel()
	b := newBundle(t).noNamespace(specs.NetworkNamespace)
	if got, want := b.report().Namespaces["net"], ownNamespace(t, "net"); got != want {
		t.Errorf("network namespace %s, want the host's %s", got, want)
	}
}

package runtimetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Before Linux 6.15 only the parent of a process learns its exit status. There a process stays as
// the container's parent until it ends: the monitor. The tests of it run on such a kernel as it is,
// and elsewhere with a runtime that takes the kernel for one.

// monitored is a bundle whose containers get a monitor.
func monitored(t *testing.T, args ...string) *bundle {
	t.Helper()
	peerLacks(t, "keep no exit status", "runc", "crun")
	return onKernel(t, "6.1", args...)
}

// onKernel has the runtime behave as on a kernel that is not newer than version.
func onKernel(t *testing.T, version string, args ...string) *bundle {
	t.Helper()
	b := newBundle(t, args...)
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	if kernelIs(t, major, minor+1) {
		b.runtime = needFaults(t)
		b.env = append(b.env, kernelVariable+"="+version)
	}
	return b
}

// monitor is the container's monitor, 0 without one.
func (b *bundle) monitor() int {
	b.t.Helper()
	pid := parent(b.t, b.pid())
	if comm(pid) != "tare-monitor" {
		return 0
	}
	return pid
}

func (b *bundle) mustMonitor() int {
	b.t.Helper()
	pid := b.monitor()
	if pid == 0 {
		b.t.Fatal("the container has no monitor")
	}
	return pid
}

// statusLine reads a line of /proc/PID/status.
func statusLine(t *testing.T, pid int, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for _, line := range strings.Split(string(text), "\n") {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func parent(t *testing.T, pid int) int {
	t.Helper()
	n, err := strconv.Atoi(statusLine(t, pid, "PPid"))
	must(t, err)
	return n
}

func comm(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(text))
}

// gone says whether a process has ended, be it waited for or not.
func gone(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(text), ") Z ") || strings.Contains(string(text), ") X ")
}

// monitors finds the monitors that have a file of this test open.
func (b *bundle) monitors() (pids []int) {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, l := range links {
		pid, _ := strconv.Atoi(strings.Split(l, "/")[2])
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, b.scratch+"/") && comm(pid) == "tare-monitor" {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (b *bundle) noMonitor(when string) {
	b.t.Helper()
	if m := b.monitors(); len(m) > 0 {
		b.t.Errorf("%s: monitors %v", when, m)
	}
}

func TestExitStatusIsKeptOnOldKernels(t *testing.T) {
	t.Parallel()
	peerLacks(t, "keep no exit status", "runc", "crun")
	for _, version := range []string{"4.19", "5.4", "5.10", "5.15", "6.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			for args, want := range map[string]int{"exit 0": 0, "exit 42": 42, "sleep 60": 137} {
				for _, detached := range []bool{false, true} {
					b := onKernel(t, version, strings.Fields(args)...)
					if detached {
						b.mustDetach()
					} else {
						b.create()
						b.mustMonitor()
						b.start()
					}
					if want == 137 {
						b.ready()
						b.mustMonitor()
						b.must("kill", b.id, "KILL")
					}
					for range 2 {
						if r := b.cli("wait", b.id); r.code != want {
							t.Errorf("%s, detached %t: want %d: %v", args, detached, want, r)
						}
					}
					if _, all := b.state(); fmt.Sprint(all["exitStatus"]) != fmt.Sprint(want) {
						t.Errorf("%s, detached %t: state %v", args, detached, all)
					}
					b.must("delete", b.id)
					b.noMonitor("after delete")
				}
			}
		})
	}
}

// mustDetach runs the container detached, its output in b.out and b.err.
func (b *bundle) mustDetach(options ...string) {
	b.t.Helper()
	b.write()
	in := b.invocation(append(append([]string{"run", "--detach", "--bundle", b.dir}, options...), b.id)...)
	in.out, in.err = b.out, b.err
	if r := call(b.t, in); r.code != 0 {
		b.t.Fatal(r)
	}
}

func TestWaitBlocksWithAMonitor(t *testing.T) {
	t.Parallel()
	b := monitored(t, "sleep", "60").up()
	first, _, _ := begin(t, b.invocation("wait", b.id))
	second, _, errs := begin(t, b.invocation("wait", b.id))
	time.Sleep(50 * time.Millisecond)
	b.must("kill", b.id, "KILL")
	for i, code := range []int{finish(t, first), finish(t, second)} {
		if code != 137 {
			t.Errorf("wait %d ended with %d: %s", i, code, contents(errs))
		}
	}
}

// How a system in a container ended its engine must learn: reboot(2).
func TestRebootInsideIsKept(t *testing.T) {
	t.Parallel()
	needCapability(t, "CAP_SYS_BOOT", 22)
	for command, want := range map[string]int{"restart": 128 + 1, "power-off": 128 + 2} {
		b := monitored(t, "reboot", command).caps("CAP_SYS_BOOT")
		b.mustDetach()
		if r := b.cli("wait", b.id); r.code != want {
			t.Errorf("%s: want %d: %v", command, want, r)
		}
	}
}

func TestRunThatKeepsTheContainerKeepsItsStatus(t *testing.T) {
	t.Parallel()
	b := monitored(t, "exit", "42")
	if r := b.run("--keep"); r.code != 42 {
		t.Fatal(r)
	}
	b.noMonitor("after run in the foreground")
	if r := b.cli("wait", b.id); r.code != 42 {
		t.Error(r)
	}
}

// A container in namespaces of another is made by a child of the monitor.
func TestMonitorOfAContainerInAnothersNamespaces(t *testing.T) {
	t.Parallel()
	first := monitored(t, "sleep", "60").up()
	b := monitored(t, "exit", "42")
	b.namespace(specs.PIDNamespace, fmt.Sprintf("/proc/%d/ns/pid", first.pid()))
	b.create()
	b.mustMonitor()
	b.start()
	if r := b.cli("wait", b.id); r.code != 42 {
		t.Error(r)
	}
	b = monitored(t, "exit", "42").userNamespace(shiftedRoot, 65536)
	b.mustDetach()
	if r := b.cli("wait", b.id); r.code != 42 {
		t.Error(r)
	}
}

func TestMonitorIsSmallAndHoldsNothing(t *testing.T) {
	t.Parallel()
	b := monitored(t, "sleep", "60")
	for name, up := range map[string]func(){"create": func() { b.up() }, "run": func() { b.mustDetach(); b.ready() }} {
		up()
		pid := b.mustMonitor()
		kib := -1
		// It lets go of the last page when the start is over.
		eventually(t, name+": its files closed", func() bool {
			fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
			_, err2 := fmt.Sscan(statusLine(t, pid, "VmRSS"), &kib)
			return err == nil && err2 == nil && len(fds) == 1
		})
		t.Logf("%s: %d KiB resident", name, kib)
		if limit := 3 * os.Getpagesize() / 1024; kib > max(limit, 32) {
			t.Errorf("%s: %d KiB resident", name, kib)
		}
		if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); cwd != "/" {
			t.Errorf("%s: working directory %q", name, cwd)
		}
		if session, err := unix.Getsid(pid); session != pid || err != nil {
			t.Errorf("%s: session %d, %v, want its own", name, session, err)
		}
		for _, ns := range []string{"mnt", "pid", "net", "ipc", "uts", "user", "cgroup"} {
			ours, _ := os.Readlink("/proc/self/ns/" + ns)
			if its, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns)); its != ours {
				t.Errorf("%s: %s namespace %q, want %q", name, ns, its, ours)
			}
		}
		ours, _ := os.ReadFile("/proc/self/cgroup")
		if its, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)); string(its) != string(ours) {
			t.Errorf("%s: control groups %s, want the caller's %s", name, its, ours)
		}
		b.destroy()
		b.noMonitor("after delete --force")
		if !gone(pid) {
			t.Errorf("%s: the monitor is still there", name)
		}
		must(t, b.out.Truncate(0))
	}
}

func TestSignalsDoNotEndTheMonitor(t *testing.T) {
	t.Parallel()
	b := monitored(t, "sleep", "60").up()
	pid := b.mustMonitor()
	for sig := unix.Signal(1); sig < 65; sig++ {
		switch sig {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGTERM: // the last is for service managers
		default:
			must(t, unix.Kill(pid, sig))
		}
	}
	b.must("kill", b.id, "KILL")
	if r := b.cli("wait", b.id); r.code != 137 {
		t.Error(r)
	}
}

// Without its monitor a container lacks nothing but its exit status.
func TestContainerOutlivesItsMonitor(t *testing.T) {
	t.Parallel()
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		b := monitored(t, "sleep", "60").up()
		pid := b.mustMonitor()
		must(t, unix.Kill(pid, sig))
		eventually(t, "monitor gone", func() bool { return gone(pid) })
		if got := b.status(); got != specs.StateRunning {
			t.Errorf("status %s", got)
		}
		if r := b.exec("/probe", "exit", "7"); r.code != 7 {
			t.Error(r)
		}
		wait, _, errs := begin(t, b.invocation("wait", b.id))
		time.Sleep(20 * time.Millisecond)
		b.must("kill", b.id, "KILL")
		// A process that nobody has waited for yet still shows its status.
		if code := finish(t, wait); code != 137 && (code != 1 || !strings.Contains(contents(errs), "not known")) {
			t.Errorf("wait ended with %d: %s", code, contents(errs))
		}
		b.stopped()
		eventually(t, "waited for by us", func() bool { return b.cli("wait", b.id).code == 1 })
		b.refused([]string{"its exit status is not known"}, "wait", b.id)
		b.must("delete", b.id)
	}
}

func TestDeleteEndsAMonitorThatHangs(t *testing.T) {
	t.Parallel()
	b := monitored(t, "sleep", "60").up()
	pid := b.mustMonitor()
	must(t, unix.Kill(pid, unix.SIGSTOP))
	b.destroy()
	eventually(t, "monitor gone", func() bool { return gone(pid) })
}

// Engines reap the container's process themselves: it must come to them when the runtime ends.
func TestEngineGetsTheProcessItself(t *testing.T) {
	t.Parallel()
	for name, up := range map[string]func(b *bundle){
		"create": func(b *bundle) { b.up("--pid-file", b.path("pid")) },
		"run":    func(b *bundle) { b.mustDetach("--pid-file", b.path("pid")); b.ready() },
		"notify": func(b *bundle) {
			b.env = append(b.env, "NOTIFY_SOCKET="+b.path("none"))
			b.create()
		},
	} {
		b := monitored(t, "sleep", "60")
		up(b)
		b.noMonitor(name)
		if pid := parent(t, b.pid()); pid != os.Getpid() {
			t.Errorf("%s: its parent is %d (%s), want this test, %d", name, pid, comm(pid), os.Getpid())
		}
	}
}

// Whenever the runtime is killed, its monitor ends when the process has.
func TestKilledCreateLeavesNoMonitor(t *testing.T) {
	t.Parallel()
	for delay := time.Duration(0); delay < 10*time.Millisecond; delay += time.Millisecond {
		b := monitored(t, "sleep", "60")
		b.write()
		cmd, _, _ := begin(t, b.invocation("create", "--bundle", b.dir, b.id))
		time.Sleep(delay)
		cmd.Process.Kill()
		cmd.Wait()
		b.cli("delete", "--force", b.id)
		eventually(t, "without a monitor", func() bool { return len(b.monitors()) == 0 })
		for _, l := range b.leftovers() {
			if !strings.HasPrefix(l, "cgroup ") { // empty groups may stay where no state was written yet
				t.Errorf("killed after %v: left %s", delay, l)
			}
		}
		b.removeCgroups()
	}
}

func TestFaultInEveryOperationWithAMonitor(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo", "ran")
	b.runtime = needFaults(t)
	const version = "5.10" // has clone3, which makes it, and no close_range
	failed := eachFault(b, func(n int) (result, string) {
		b.env = []string{fmt.Sprintf("%s=%d", faultVariable, n), kernelVariable + "=" + version}
		r := b.tryCreate()
		if r.code == 0 {
			b.env = b.env[1:]
			b.must("delete", "--force", b.id)
		}
		b.noMonitor(fmt.Sprintf("operation %d", n))
		r.stderr = contents(b.err)
		must(t, b.err.Truncate(0))
		_, err := b.err.Seek(0, 0)
		must(t, err)
		return r, "ran\n"
	})
	if failed < 30 {
		t.Errorf("only %d operations failed", failed)
	}
}

func TestExitStatusIsKeptForUsersWithoutPrivileges(t *testing.T) {
	t.Parallel()
	peerLacks(t, "keep no exit status", "runc", "crun")
	b := rootless(t, "exit", "42")
	b.create()
	b.mustMonitor()
	b.start()
	for range 2 {
		if r := b.cli("wait", b.id); r.code != 42 {
			t.Error(r)
		}
	}
	b.must("delete", b.id)
}

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/host"
)

// The tests in live_*_test.go work on the cgroups of this machine: as root, in
// groups of their own, with processes of their own. They run from the compiled
// test binary alone, in a virtual machine too, and need a shell there.

// needRoot skips where groups cannot be made.
func needRoot(t *testing.T) *Host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	h, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	if h.Mode() == None {
		t.Skip("needs a machine with cgroup v1 or v2")
	}
	return h
}

// needV1 skips on a machine without v1 hierarchies.
func needV1(t *testing.T) *Host {
	t.Helper()
	h := needRoot(t)
	if h.Mode() == V2 {
		t.Skip("needs a machine with cgroup v1")
	}
	return h
}

// needV2 skips unless v2 has all controllers.
func needV2(t *testing.T) *Host {
	t.Helper()
	h := needRoot(t)
	if h.Mode() != V2 {
		t.Skip("needs a machine with cgroup v2 only")
	}
	return h
}

// needV1Controllers skips unless all controllers have a v1 hierarchy.
func needV1Controllers(t *testing.T, names ...string) *Host {
	t.Helper()
	h := needV1(t)
	for _, name := range names {
		if h.find(name) == nil {
			t.Skip("needs the cgroup controller " + name + " on v1")
		}
	}
	return h
}

// serial makes the names of this run's groups differ.
var serial atomic.Int64

// scope is the path under which this process's test groups are, from the mount
// points. The root of the memory hierarchy is not touched on a machine where we
// are in a group of somebody's below it: see live.
func scope() string { return fmt.Sprintf("/tare-test-%d", os.Getpid()) }

// live is a container's group on this machine, as the launcher would make it.
type live struct {
	*Plan
	h *Host
	t *testing.T

	// alone: processes stay in the memory group they are in, since that is
	// somebody's who counts on it. Limits can be set, but nobody is under them.
	alone bool
}

// newLive plans and makes a group and removes it with its processes at the end.
func newLive(t *testing.T, h *Host, r *specs.LinuxResources) *live {
	t.Helper()
	return makeLive(t, h, Request{
		ID: "c", CgroupsPath: fmt.Sprintf("%s/c%d", scope(), serial.Add(1)), Resources: r,
	})
}

func makeLive(t *testing.T, h *Host, r Request) *live {
	t.Helper()
	p, err := NewPlan(h, r)
	if err != nil {
		t.Fatalf("NewPlan = %v", err)
	}
	l := &live{Plan: p, h: h, t: t}
	if y := h.find("memory"); y != nil && y.own != y.point {
		l.alone = true
	}
	t.Cleanup(l.cleanup)
	if err := Run(p.Steps); err != nil {
		t.Fatalf("steps: %v", err)
	}
	if p.Devices != nil {
		if err := ApplyDevices(p.Dir, p.Devices); err != nil {
			t.Fatal(err)
		}
	}
	if err := Run(p.Late); err != nil {
		t.Fatalf("late steps: %v", err)
	}
	return l
}

func (l *live) cleanup() {
	if l.Group.Exists() {
		if err := l.Group.Signal(unix.SIGKILL); err != nil {
			l.t.Errorf("kill: %v", err)
		}
		if err := l.Group.Remove(); err != nil {
			l.t.Errorf("remove: %v", err)
		}
	}
	for _, dir := range l.Group.dirs() {
		// The scope, if this was the last; not what others make groups in.
		if above := filepath.Dir(dir); filepath.Base(above) == filepath.Base(scope()) {
			_ = unix.Rmdir(above)
		}
	}
}

// start runs a shell command in the group. It is waited for in the background;
// done gets its result.
func (l *live) start(script string) (cmd *exec.Cmd, done <-chan error) {
	l.t.Helper()
	// Each "0" moves the shell itself, as the launcher's child does.
	cmd = exec.Command("/bin/sh", "-c", `for file; do echo 0 > "$file" || exit 99; done; shift $#; `+script, "sh")
	for _, file := range l.Tasks {
		if l.alone && filepath.Dir(file) == l.Group.Paths["memory"] {
			continue
		}
		cmd.Args = append(cmd.Args, file)
	}
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if l.Dir != "" && !host.Probe().IntoCgroup {
		cmd.Args = append(cmd.Args, filepath.Join(l.Dir, "cgroup.procs"))
	} else if l.Dir != "" {
		dir, err := os.Open(l.Dir)
		if err != nil {
			l.t.Fatal(err)
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(dir.Fd())
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	// Processes that the shell leaves behind hold its output open.
	cmd.WaitDelay = 50 * time.Millisecond
	if err := cmd.Start(); err != nil {
		l.t.Fatalf("start %q: %v", script, err)
	}
	result := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		if err != nil && out.Len() > 0 {
			err = fmt.Errorf("%w: %s", err, out.String())
		}
		result <- err
	}()
	return cmd, result
}

// run runs a shell command in the group to its end.
func (l *live) run(script string) error {
	l.t.Helper()
	_, done := l.start(script)
	return wantDone(l.t, done)
}

func wantDone(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the process did not end in 20 seconds")
		return nil
	}
}

// sleepers starts n processes and returns when they are in the group.
func (l *live) sleepers(n int) []int {
	l.t.Helper()
	for range n {
		l.start("exec sleep 1000")
	}
	var pids []int
	eventually(l.t, fmt.Sprintf("%d processes in the group", n), func() bool {
		var err error
		if pids, err = l.Group.Pids(); err != nil {
			l.t.Fatal(err)
		}
		// In all hierarchies, and past the shell.
		for _, pid := range pids {
			if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(name) != "sleep\n" {
				return false
			}
		}
		return len(pids) == n
	})
	return pids
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 seconds: %s", what)
		}
	}
}

// want compares control files of a controller's directory with values.
func (l *live) want(controller string, files ...string) {
	l.t.Helper()
	dir, ok := l.Group.Paths[controller]
	if !ok {
		l.t.Fatalf("no group for %q", controller)
	}
	for i := 0; i < len(files); i += 2 {
		if got := readString(dir, files[i]); got != files[i+1] {
			l.t.Errorf("%s of %q = %q, want %q", files[i], controller, got, files[i+1])
		}
	}
}

func TestLiveJoinAndRemove(t *testing.T) {
	l := newLive(t, needRoot(t), nil)
	pids := l.sleepers(3)
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil {
			t.Fatal(err)
		}
		list, err := parseMembership(string(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			if len(m.controllers) > 0 && l.Group.Paths[m.controllers[0]] == "" || len(m.controllers) == 0 && l.Dir == "" ||
				l.alone && m.controllers[0] == "memory" {
				continue
			}
			if !strings.HasPrefix(m.path, scope()+"/c") {
				t.Errorf("process %d is in %s of %v", pid, m.path, m.controllers)
			}
		}
	}
	if _, err := NewPlan(l.h, Request{ID: "d", CgroupsPath: "/" + filepath.Base(scope()) + "/" + l.name()}); err == nil {
		t.Error("a group with processes was planned for a second container")
	}
	if err := l.Group.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// At once: the kernel may still be busy with the processes.
	if err := l.Group.Remove(); err != nil {
		t.Fatal(err)
	}
	if l.Group.Exists() {
		t.Error("the group exists after Remove")
	}
	if err := l.Group.Remove(); err != nil {
		t.Errorf("second Remove = %v", err)
	}
}

// name is the last part of the group's path.
func (l *live) name() string {
	dir, err := l.Group.main()
	if err != nil {
		l.t.Fatal(err)
	}
	return filepath.Base(dir)
}

func TestLiveRemoveRefusesProcesses(t *testing.T) {
	l := newLive(t, needRoot(t), nil)
	l.sleepers(1)
	start := time.Now()
	if err := l.Group.Remove(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("Remove with a process = %v, want EBUSY", err)
	}
	t.Logf("gave up after %v", time.Since(start))
	if pids, err := l.Group.Pids(); len(pids) != 1 {
		t.Errorf("Pids after Remove = %v, %v", pids, err)
	}
}

func TestLiveRemoveTakesGroupsBelow(t *testing.T) {
	l := newLive(t, needRoot(t), nil)
	for _, dir := range l.Group.dirs() {
		if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Group.Remove(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range l.Group.dirs() {
		if exists(dir) {
			t.Errorf("%s is still there", dir)
		}
	}
}

func TestLiveFreeze(t *testing.T) {
	l := newLive(t, needRoot(t), nil)
	if _, _, err := l.Group.freezer(); err != nil {
		t.Skip("needs the cgroup controller freezer: ", err)
	}
	pids := l.sleepers(2)
	ready := filepath.Join(t.TempDir(), "ready")
	_, done := l.start("trap 'exit 7' TERM; : > " + ready + "; while :; do :; done")
	eventually(t, "trap set", func() bool { return exists(ready) })
	for range 3 {
		if err := l.Group.Freeze(); err != nil {
			t.Fatal(err)
		}
		if frozen, err := l.Group.Frozen(); !frozen || err != nil {
			t.Fatalf("Frozen = %v, %v after Freeze", frozen, err)
		}
		if err := l.Group.Thaw(); err != nil {
			t.Fatal(err)
		}
		if frozen, err := l.Group.Frozen(); frozen || err != nil {
			t.Fatalf("Frozen = %v, %v after Thaw", frozen, err)
		}
	}
	if err := l.Group.Freeze(); err != nil {
		t.Fatal(err)
	}
	if _, err := NewPlan(l.h, Request{ID: "d", CgroupsPath: scope() + "/" + l.name() + "/below"}); err == nil || !strings.Contains(err.Error(), "frozen") {
		t.Errorf("NewPlan below a frozen group = %v", err)
	}
	// A signal to a frozen group waits, and the group stays frozen.
	if err := l.Group.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if frozen, _ := l.Group.Frozen(); !frozen {
		t.Error("SIGTERM thawed the group")
	}
	select {
	case err := <-done:
		t.Fatalf("a frozen process ended: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := l.Group.Thaw(); err != nil {
		t.Fatal(err)
	}
	if err := wantDone(t, done); !strings.Contains(fmt.Sprint(err), "exit status 7") {
		t.Errorf("thawed process ended with %v, want status 7", err)
	}
	eventually(t, "sleepers gone", func() bool { return !alive(pids) })
}

func alive(pids []int) bool {
	return slices.ContainsFunc(pids, func(pid int) bool { return unix.Kill(pid, 0) == nil })
}

func TestLiveKillOfAFrozenGroup(t *testing.T) {
	l := newLive(t, needRoot(t), nil)
	if _, _, err := l.Group.freezer(); err != nil {
		t.Skip("needs the cgroup controller freezer: ", err)
	}
	pids := l.sleepers(3)
	if err := l.Group.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := l.Group.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "processes gone", func() bool { return !alive(pids) })
	if err := l.Group.Remove(); err != nil {
		t.Errorf("Remove = %v", err)
	}
}

// Processes that fork all the time are all killed.
func TestLiveKillOfForkingProcesses(t *testing.T) {
	for _, with := range []string{"kill", "freezer", "nothing"} {
		t.Run(with, func(t *testing.T) {
			l := newLive(t, needRoot(t), &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(60))}})
			_, _ = l.start("for i in 0 1 2 3 4 5 6 7 8 9; do for j in 0 1 2; do (while :; do /bin/true; done) & done; done; wait")
			eventually(t, "many processes", func() bool { p, _ := l.Group.Pids(); return len(p) > 30 })
			var err error
			switch with {
			case "kill":
				err = l.Group.Signal(unix.SIGKILL)
			case "freezer":
				if err = l.Group.Freeze(); err == nil {
					err = errors.Join(l.Group.signalAll(unix.SIGKILL), l.Group.Thaw())
				}
			case "nothing":
				err = l.Group.killAll()
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Group.Remove(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestLivePidsLimit(t *testing.T) {
	h := needRoot(t)
	l := newLive(t, h, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(1))}})
	if err := l.run("exec true"); err != nil {
		t.Errorf("one process = %v", err)
	}
	if err := l.run("/bin/true; exit 0"); err == nil {
		t.Error("a second process was not refused")
	}
	if err := l.Group.Update(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(-1))}}); err != nil {
		t.Fatal(err)
	}
	if err := l.run("/bin/true; exit 0"); err != nil {
		t.Errorf("a second process after the update = %v", err)
	}
	pids := l.sleepers(2)
	s, err := l.Group.Stats()
	if err != nil || s.Pids.Current != uint64(len(pids)) || s.Pids.Limit != 0 {
		t.Errorf("Stats = %+v, %v", s, err)
	}
}

func TestLiveDevices(t *testing.T) {
	h := needRoot(t)
	if h.find("devices") == nil && h.Mode() == V1 {
		t.Skip("needs the cgroup controller devices")
	}
	rules := append([]specs.LinuxDeviceCgroup{{Access: "rwm"}}, DefaultDeviceRules()...)
	l := newLive(t, h, &specs.LinuxResources{Devices: rules})
	if err := l.run("exec head -c 1 /dev/zero > /dev/null"); err != nil {
		t.Errorf("/dev/zero: %v", err)
	}
	if err := l.run("exec head -c 1 /dev/kmsg"); err == nil {
		t.Error("/dev/kmsg could be read")
	}
	node := filepath.Join(t.TempDir(), "kmsg")
	if err := l.run("mknod " + node + " c 1 11 && head -c 1 < " + node); err == nil || !strings.Contains(err.Error(), "ermi") {
		t.Errorf("a new node of /dev/kmsg: %v, want it made but not permitted", err)
	}
	if !exists(node) {
		t.Error("mknod was refused")
	}
	// A process that is at it all the time must not see a change.
	_, done := l.start("while head -c 1 /dev/zero > /dev/null; do :; done; exit 5")
	more := append(slices.Clone(rules), specs.LinuxDeviceCgroup{
		Allow: true, Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(11)), Access: "r",
	})
	for range 10 {
		if err := l.Group.Update(&specs.LinuxResources{Devices: more}); err != nil {
			t.Fatal(err)
		}
		if err := l.run("exec head -c 0 /dev/kmsg"); err != nil {
			t.Errorf("/dev/kmsg after the update: %v", err)
		}
		if err := l.Group.Update(&specs.LinuxResources{Devices: rules}); err != nil {
			t.Fatal(err)
		}
		if err := l.run("exec head -c 1 /dev/kmsg"); err == nil {
			t.Error("/dev/kmsg could be read after it was taken away")
		}
	}
	select {
	case err := <-done:
		t.Errorf("the watching process ended: %v", err)
	default:
	}
	// To everything and back.
	for _, list := range [][]specs.LinuxDeviceCgroup{{{Allow: true, Access: "rwm"}}, rules} {
		if err := l.Group.Update(&specs.LinuxResources{Devices: list}); err != nil {
			t.Fatal(err)
		}
		err := l.run("exec head -c 0 /dev/kmsg < /dev/kmsg")
		if allowed := list[0].Allow; (err == nil) != allowed {
			t.Errorf("/dev/kmsg with rules %+v: %v", list, err)
		}
	}
	if frozen, _ := l.Group.Frozen(); frozen {
		t.Error("the update left the group frozen")
	}
}

// The kernel must take every program the compiler makes.
func TestLiveDeviceProgramsAreVerified(t *testing.T) {
	needRoot(t)
	for seed := range uint64(200) {
		rules := randomRules(newRand(seed))
		program, err := deviceProgram(rules)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := loadProgram(program)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) && seed == 0 {
			t.Skip("needs the kernel to have device programs: ", err)
		}
		if err != nil {
			t.Fatalf("rules %+v: %v", rules, err)
		}
		_ = unix.Close(fd)
	}
}

func TestLiveCPU(t *testing.T) {
	h := needRoot(t)
	if h.Mode() != V2 && h.find("cpu") == nil {
		t.Skip("needs the cgroup controller cpu")
	}
	l := newLive(t, h, &specs.LinuxResources{CPU: &specs.LinuxCPU{
		Shares: ptr(uint64(512)), Quota: ptr(int64(20000)), Period: ptr(uint64(40000)),
	}})
	check := func(shares, weight, quota, period string) {
		t.Helper()
		if h.Mode() == V2 {
			l.want("", "cpu.weight", weight, "cpu.max", strings.Replace(quota, "-1", "max", 1)+" "+period)
			return
		}
		l.want("cpu", "cpu.shares", shares, "cpu.cfs_quota_us", quota, "cpu.cfs_period_us", period)
	}
	check("512", "59", "20000", "40000")
	for _, c := range []struct {
		cpu                           specs.LinuxCPU
		shares, weight, quota, period string
	}{
		{specs.LinuxCPU{Period: ptr(uint64(25000))}, "512", "59", "20000", "25000"},
		{specs.LinuxCPU{Quota: ptr(int64(900000)), Period: ptr(uint64(1000000))}, "512", "59", "900000", "1000000"},
		{specs.LinuxCPU{Quota: ptr(int64(2000)), Period: ptr(uint64(1000))}, "512", "59", "2000", "1000"},
		{specs.LinuxCPU{Quota: ptr(int64(-1))}, "512", "59", "-1", "1000"},
		{specs.LinuxCPU{Shares: ptr(uint64(1024))}, "1024", "100", "-1", "1000"},
	} {
		if err := l.Group.Update(&specs.LinuxResources{CPU: &c.cpu}); err != nil {
			t.Fatalf("Update(%+v) = %v", c.cpu, err)
		}
		check(c.shares, c.weight, c.quota, c.period)
	}
	if err := l.Group.Update(&specs.LinuxResources{CPU: &specs.LinuxCPU{Period: ptr(uint64(5))}}); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a period of 5 = %v, want EINVAL", err)
	}
}

func TestLiveThrottlingIsCounted(t *testing.T) {
	h := needRoot(t)
	if h.Mode() != V2 && h.find("cpu") == nil {
		t.Skip("needs the cgroup controller cpu")
	}
	l := newLive(t, h, &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(2000)), Period: ptr(uint64(20000))}})
	_, _ = l.start("while :; do :; done")
	eventually(t, "throttled periods and used time", func() bool {
		s, err := l.Group.Stats()
		if err != nil {
			t.Fatal(err)
		}
		return s.CPU.Throttling.ThrottledPeriods > 2 && s.CPU.Throttling.ThrottledTime > 0 &&
			(s.CPU.Usage.Total > 1e6 || h.Mode() != V2 && h.find("cpuacct") == nil)
	})
}

func TestLiveCpuset(t *testing.T) {
	h := needRoot(t)
	if h.Mode() != V2 && h.find("cpuset") == nil {
		t.Skip("needs the cgroup controller cpuset")
	}
	l := newLive(t, h, &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0"}})
	pid := l.sleepers(1)[0]
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil || !strings.Contains(string(status), "Cpus_allowed_list:\t0\n") {
		t.Errorf("the process may run elsewhere than on CPU 0: %v\n%s", err, status)
	}
	if err := l.Group.Update(&specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "100000"}}); err == nil {
		t.Error("a CPU that is not there was taken")
	}
}

func TestLiveJoinOfAGroupBelow(t *testing.T) {
	l := newLive(t, needRoot(t), nil)
	pid := l.sleepers(1)[0]
	j, err := l.Group.Join("", pid)
	if err != nil || !slices.Equal(j.Tasks, sortedTasks(l)) || j.Dir != l.Dir {
		t.Errorf("Join = %+v, %v, want %v %v", j, err, sortedTasks(l), l.Dir)
	}
	if _, err := l.Group.Join("below", pid); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Join of a group that is not there = %v", err)
	}
	if _, err := l.Group.Join("../x", pid); err == nil {
		t.Error("Join of a group that is not ours succeeded")
	}
	for _, dir := range l.Group.dirs() {
		if err := os.Mkdir(filepath.Join(dir, "below"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if j, err = l.Group.Join("/below", pid); err != nil {
		t.Fatal(err)
	}
	for _, file := range j.Tasks {
		if filepath.Base(filepath.Dir(file)) != "below" {
			t.Errorf("Join of a group below gives %s", file)
		}
	}
	if l.h.Mode() == V2 && j.Dir != l.Dir+"/below" {
		t.Errorf("Join of a group below gives %s", j.Dir)
	}
}

// sortedTasks is Plan.Tasks in the order of Group.Join.
func sortedTasks(l *live) []string {
	var list []string
	for _, key := range joinOrder(l.Group.Paths) {
		file := filepath.Join(l.Group.Paths[key], "tasks")
		if key != unified && !slices.Contains(list, file) {
			list = append(list, file)
		}
	}
	return list
}

// withKernel adds the deprecated limit on kernel memory, which engines still send.
func withKernel(m specs.LinuxMemory, limit int64) *specs.LinuxMemory {
	//lint:ignore SA1019 old engines send it
	m.Kernel = &limit
	return &m
}

// strconvPid is the pid as control files take it.
func strconvPid(pid int) string { return strconv.Itoa(pid) }

// BenchmarkProbeAndPlan is what a container's start pays for its group before
// the first system call of its list.
func BenchmarkProbeAndPlan(b *testing.B) {
	rules := append([]specs.LinuxDeviceCgroup{{Access: "rwm"}}, DefaultDeviceRules()...)
	for _, path := range []string{"", "/tare-bench/c"} {
		b.Run("path="+path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h, err := Probe()
				if err != nil {
					b.Fatal(err)
				}
				r := &specs.LinuxResources{Devices: rules, Pids: &specs.LinuxPids{Limit: ptr(int64(100))}}
				if _, err := NewPlan(h, Request{ID: "bench", CgroupsPath: path, Resources: r}); err != nil {
					b.Skip(err)
				}
			}
		})
	}
}

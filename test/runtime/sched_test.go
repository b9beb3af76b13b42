package runtimetest

import (
	"reflect"
	"runtime"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/test/runtime/report"
)

func TestIOPriority(t *testing.T) {
	t.Parallel()
	peerLacks(t, "older than ioPriority", "runc", "crun")
	for class, want := range map[specs.IOPriorityClass]int{"IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_IDLE": 3} {
		b := newBundle(t)
		b.Spec.Process.IOPriority = &specs.LinuxIOPriority{Class: class, Priority: 6}
		if r := b.report(); r.IOPrioClass != want || r.IOPrioLevel != 6 {
			t.Errorf("%s: class %d level %d", class, r.IOPrioClass, r.IOPrioLevel)
		}
	}
}

func TestSchedulerPolicies(t *testing.T) {
	t.Parallel()
	peerLacks(t, "older than scheduler", "runc", "crun")
	cases := []struct {
		given specs.Scheduler
		want  report.Scheduler
	}{
		{specs.Scheduler{Policy: specs.SchedBatch, Nice: 7}, report.Scheduler{Policy: 3, Nice: 7}},
		{specs.Scheduler{Policy: specs.SchedOther, Nice: 19}, report.Scheduler{Policy: 0, Nice: 19}},
		{specs.Scheduler{Policy: specs.SchedIdle}, report.Scheduler{Policy: 5}},
		{specs.Scheduler{Policy: specs.SchedBatch, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}, report.Scheduler{Policy: 3, Flags: 1}},
	}
	for _, c := range cases {
		t.Run(string(c.given.Policy), func(t *testing.T) {
			t.Parallel()
			b := newBundle(t)
			b.Spec.Process.Scheduler = &c.given
			got := b.report().Scheduler
			got.Runtime = 0 // since Linux 6.12 the fair policies show their slice here
			if got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// setsSchedulerHere says whether this machine lets a process of ours have the policy at all.
func setsSchedulerHere(t *testing.T, a unix.SchedAttr) {
	t.Helper()
	needCapability(t, "CAP_SYS_NICE", 23)
	done := make(chan error)
	go func() {
		// On a thread of its own, which ends with the goroutine: it stays locked.
		runtime.LockOSThread()
		done <- unix.SchedSetAttr(0, &a, 0)
	}()
	if err := <-done; err != nil {
		t.Skipf("needs a machine that grants the policy: %v", err)
	}
}

func TestRealTimeSchedulers(t *testing.T) {
	t.Parallel()
	peerLacks(t, "older than scheduler", "runc", "crun")
	setsSchedulerHere(t, unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: 1, Priority: 5})
	for policy, want := range map[specs.LinuxSchedulerPolicy]uint32{specs.SchedFIFO: 1, specs.SchedRR: 2} {
		b := newBundle(t)
		b.Spec.Process.Scheduler = &specs.Scheduler{Policy: policy, Priority: 5}
		if !unifiedOnly() {
			// On v1 a real-time process needs a share of real time in its cpu group.
			b.Spec.Linux.Resources.CPU = &specs.LinuxCPU{RealtimePeriod: ptr(uint64(1_000_000)), RealtimeRuntime: ptr(int64(1000))}
		}
		if got := b.report().Scheduler; got.Policy != want || got.Priority != 5 {
			t.Errorf("%s: %+v", policy, got)
		}
	}
}

func TestDeadlineScheduler(t *testing.T) {
	t.Parallel()
	peerLacks(t, "older than scheduler", "runc", "crun")
	const budget, deadline, period = 10_000_000, 30_000_000, 40_000_000
	setsSchedulerHere(t, unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: 6, Runtime: budget, Deadline: deadline, Period: period})
	b := newBundle(t)
	b.Spec.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedDeadline, Runtime: budget, Deadline: deadline, Period: period}
	// A deadline thread may not clone without reset-on-fork (sched(7)), and Go programs have threads.
	b.Spec.Process.Scheduler.Flags = []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}
	got := b.report().Scheduler
	if got.Policy != 6 || got.Runtime != budget || got.Deadline != deadline || got.Period != period {
		t.Errorf("%+v", got)
	}
}

func TestCPUAffinityOfExec(t *testing.T) {
	t.Parallel()
	peerLacks(t, "older than execCPUAffinity", "runc", "crun")
	b := newBundle(t, "sleep", "60")
	b.Spec.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "1"}
	if len(b.ownAffinity()) < 2 {
		t.Skip("needs two CPUs")
	}
	b.up()
	if got := b.decode(b.mustExec("/probe", "report")).Affinity; !reflect.DeepEqual(got, []int{1}) {
		t.Errorf("exec runs on %v, want final: [1]", got)
	}
}

func TestCPUAffinityIsNotForInit(t *testing.T) {
	t.Parallel()
	peerLacks(t, "older than execCPUAffinity", "runc", "crun")
	b := newBundle(t)
	b.Spec.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "0"}
	if want, got := b.ownAffinity(), b.report().Affinity; !reflect.DeepEqual(got, want) {
		t.Errorf("init runs on %v, want %v", got, want)
	}
	b.Spec.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "nonsense"}
	wantRefusal(t, b.tryCreate())
}

func (b *bundle) ownAffinity() []int {
	var set unix.CPUSet
	must(b.t, unix.SchedGetaffinity(0, &set))
	var cpus []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus
}

func TestMemoryPolicy(t *testing.T) {
	t.Parallel()
	peerLacks(t, "older than memoryPolicy", "runc", "crun")
	if _, _, errno := unix.Syscall6(unix.SYS_GET_MEMPOLICY, 0, 0, 0, 0, 0, 0); errno == unix.ENOSYS {
		t.Skip("needs the kernel to have memory policies")
	}
	modes := map[specs.MemoryPolicyModeType]int{specs.MpolDefault: 0, specs.MpolPreferred: 1, specs.MpolBind: 2, specs.MpolInterleave: 3, specs.MpolLocal: 4}
	for mode, want := range modes {
		b := newBundle(t)
		b.Spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: mode, Nodes: "0"}
		if mode == specs.MpolDefault || mode == specs.MpolLocal {
			b.Spec.Linux.MemoryPolicy.Nodes = ""
		}
		if got := b.report().MemPolicy; got != want {
			t.Errorf("%s: policy %d, want %d", mode, got, want)
		}
	}
	b := newBundle(t, "echo")
	b.Spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_NONSENSE"}
	wantRefusal(t, b.run())
}

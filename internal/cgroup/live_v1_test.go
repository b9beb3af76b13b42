package cgroup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestLiveV1MakesOnlyWhatIsUsed(t *testing.T) {
	h := needV1Controllers(t, "freezer", "pids")
	// Without a path the group is below our own in each hierarchy.
	l := makeLive(t, h, Request{
		ID: "test-" + strconvPid(os.Getpid()), Resources: &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(9))}},
	})
	if len(l.Group.dirs()) != 2 {
		t.Errorf("groups %v, want freezer and pids only", l.Group.Paths)
	}
	l.want("pids", "pids.max", "9")
	l.sleepers(1)
}

// An update may ask for a controller that the container does not use so far.
func TestLiveV1UpdateTakesANewControllerIntoUse(t *testing.T) {
	h := needV1Controllers(t, "freezer", "pids", "cpuset")
	l := makeLive(t, h, Request{ID: "test-" + strconvPid(os.Getpid())})
	pids := l.sleepers(3)
	if _, ok := l.Group.Paths["pids"]; ok {
		t.Fatal("pids is in use without a limit")
	}
	err := l.Group.Update(&specs.LinuxResources{
		Pids: &specs.LinuxPids{Limit: ptr(int64(50))}, CPU: &specs.LinuxCPU{Cpus: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.want("pids", "pids.max", "50")
	for _, name := range []string{"pids", "cpuset"} {
		got, err := processes(l.Group.Paths[name])
		if err != nil || !slices.Equal(got, pids) {
			t.Errorf("processes of %s = %v, %v, want %v", name, got, err, pids)
		}
	}
	if err := l.Group.Update(&specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 0}}}); h.find("hugetlb") == nil && err == nil {
		t.Error("a limit without its controller was taken")
	}
}

func TestLiveV1Memory(t *testing.T) {
	h := needV1Controllers(t, "memory")
	l := newLive(t, h, &specs.LinuxResources{Memory: withKernel(specs.LinuxMemory{
		Limit: ptr(int64(64 << 20)), Swap: ptr(int64(96 << 20)), Reservation: ptr(int64(32 << 20)), Swappiness: ptr(uint64(10)),
	}, 64<<20)})
	l.want("memory", v1MemoryLimit, "67108864", v1MemswLimit, "100663296", "memory.soft_limit_in_bytes", "33554432", "memory.swappiness", "10")
	// Both limits up beyond the old ones, both down, then none: every order the
	// kernel insists on.
	for _, c := range []struct{ limit, swap, wantLimit, wantSwap string }{
		{"134217728", "268435456", "134217728", "268435456"},
		{"33554432", "33554432", "33554432", "33554432"},
		{"-1", "", "9223372036854771712", "9223372036854771712"},
	} {
		m := &specs.LinuxMemory{Limit: ptr(int64(mustParse(t, c.limit)))}
		if c.swap != "" {
			m.Swap = ptr(int64(mustParse(t, c.swap)))
		}
		if err := l.Group.Update(&specs.LinuxResources{Memory: m}); err != nil {
			t.Fatalf("Update(%+v) = %v", c, err)
		}
		l.want("memory", v1MemoryLimit, c.wantLimit, v1MemswLimit, c.wantSwap)
	}
	if err := l.Group.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{DisableOOMKiller: ptr(true)}}); err != nil {
		t.Fatal(err)
	}
	if got := readString(l.Group.Paths["memory"], "memory.oom_control"); !strings.HasPrefix(got, "oom_kill_disable 1\n") {
		t.Errorf("memory.oom_control = %q", got)
	}
}

func TestLiveV1OOM(t *testing.T) {
	h := needV1Controllers(t, "memory")
	l := newLive(t, h, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(24 << 20)), Swap: ptr(int64(24 << 20))}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := l.Group.OOM(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stopped, err := l.Group.OOM(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !l.alone {
		if err := l.run("head -c 100000000 /dev/zero | tail | wc -c; exec true"); err != nil {
			t.Logf("shell: %v", err)
		}
		wantEvent(t, events)
		usage, err := readUint(l.Group.Paths["memory"], "memory.usage_in_bytes")
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d bytes in use after the kill", usage)
	}
	cancel()
	wantClosed(t, stopped)
	events, err = l.Group.OOM(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Group.Remove(); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, events)
}

// A limit below what is in use is refused by v1, with the reason.
func TestLiveV1LimitBelowUsage(t *testing.T) {
	h := needV1Controllers(t, "memory")
	l := newLive(t, h, nil)
	if l.alone {
		t.Skip("needs a machine that lacks a memory group of somebody's around us")
	}
	_, _ = l.start("exec tail -f /dev/null")
	eventually(t, "memory in use", func() bool {
		n, _ := readUint(l.Group.Paths["memory"], "memory.usage_in_bytes")
		return n > 8192
	})
	err := l.Group.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(4096))}})
	if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "current usage") {
		t.Errorf("Update = %v, want EBUSY and the usage", err)
	}
}

func TestLiveV1Blkio(t *testing.T) {
	h := needV1Controllers(t, "blkio")
	major, minor := blockDevice(t)
	dev := specs.LinuxThrottleDevice{Rate: 1 << 20}
	dev.Major, dev.Minor = major, minor
	b := &specs.LinuxBlockIO{
		ThrottleReadBpsDevice:   []specs.LinuxThrottleDevice{dev},
		ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{dev},
	}
	l := newLive(t, h, &specs.LinuxResources{BlockIO: b})
	want := deviceName(major, minor) + " 1048576"
	l.want("blkio", "blkio.throttle.read_bps_device", want, "blkio.throttle.write_iops_device", want)
	dev.Rate = 0
	if err := l.Group.Update(&specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{dev}}}); err != nil {
		t.Fatal(err)
	}
	l.want("blkio", "blkio.throttle.read_bps_device", "")
	if exists(filepath.Join(l.Group.Paths["blkio"], "blkio.bfq.weight")) {
		if err := l.Group.Update(&specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(300))}}); err != nil {
			t.Fatal(err)
		}
		l.want("blkio", "blkio.bfq.weight", "300")
	}
}

func TestLiveV1Stats(t *testing.T) {
	l := newLive(t, needV1(t), nil)
	if err := l.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec true"); err != nil {
		t.Fatal(err)
	}
	s, err := l.Group.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := l.Group.Paths["cpuacct"]; ok && (s.CPU.Usage.Total == 0 || len(s.CPU.Usage.Percpu) == 0 || len(s.CPU.Usage.PercpuUser) == 0) {
		t.Errorf("CPU = %+v", s.CPU)
	}
	if _, ok := l.Group.Paths["cpuset"]; ok && (len(s.CPUSet.CPUs) == 0 || len(s.CPUSet.Mems) == 0) {
		t.Errorf("CPUSet = %+v", s.CPUSet)
	}
	if _, ok := l.Group.Paths["memory"]; ok && (s.Memory.Usage.Limit == 0 || len(s.Memory.Raw) == 0) {
		t.Errorf("Memory = %+v", s.Memory)
	}
}

func wantEvent(t *testing.T, events <-chan struct{}) {
	t.Helper()
	select {
	case _, ok := <-events:
		if !ok {
			t.Error("the channel was closed without an event")
		}
	case <-time.After(10 * time.Second):
		t.Error("no event in 10 seconds")
	}
}

func wantClosed(t *testing.T, events <-chan struct{}) {
	t.Helper()
	for end := time.After(10 * time.Second); ; {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		case <-end:
			t.Error("the channel was not closed in 10 seconds")
			return
		}
	}
}

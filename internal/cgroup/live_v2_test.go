package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func mustParse(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// blockDevice returns the number of a whole disk of this machine.
func blockDevice(t *testing.T) (major, minor int64) {
	t.Helper()
	disks, err := filepath.Glob("/sys/block/*/dev")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range disks {
		var a, b int64
		text, _ := os.ReadFile(file)
		if _, err := fmt.Sscanf(string(text), "%d:%d", &a, &b); err == nil {
			return a, b
		}
	}
	t.Skip("needs a disk")
	return 0, 0
}

func deviceName(major, minor int64) string { return fmt.Sprintf("%d:%d", major, minor) }

func TestLiveV2Limits(t *testing.T) {
	h := needV2(t)
	l := newLive(t, h, &specs.LinuxResources{
		Memory: withKernel(specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Reservation: ptr(int64(32 << 20))}, 1<<20),
		CPU:    &specs.LinuxCPU{Shares: ptr(uint64(2)), Quota: ptr(int64(10000))},
		Pids:   &specs.LinuxPids{Limit: ptr(int64(33))},
		Unified: map[string]string{
			"memory.high": "60000000", "cpu.weight": "77", "cgroup.max.depth": "3",
		},
	})
	l.want("", "memory.max", "67108864", "memory.low", "33554432", "pids.max", "33", "cpu.max", "10000 100000",
		"memory.high", "59998208", "cpu.weight", "77", "cgroup.max.depth", "3")
	err := l.Group.Update(&specs.LinuxResources{
		Memory:  &specs.LinuxMemory{Limit: ptr(int64(-1)), Reservation: ptr(int64(-1))},
		Unified: map[string]string{"memory.high": "max"},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.want("", "memory.max", "max", "memory.low", "max", "memory.high", "max")
}

func TestLiveV2Swap(t *testing.T) {
	h := needV2(t)
	l := newLive(t, h, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(64 << 20))}})
	if !exists(filepath.Join(l.Dir, "memory.swap.max")) {
		t.Skip("needs the kernel to have swap accounting")
	}
	l.want("", "memory.swap.max", "0")
	if err := l.Group.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr(int64(96 << 20))}}); err != nil {
		t.Fatal(err)
	}
	l.want("", "memory.swap.max", "33554432", "memory.max", "67108864")
	if err := l.Group.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr(int64(-1))}}); err != nil {
		t.Fatal(err)
	}
	l.want("", "memory.swap.max", "max")
}

// Controllers that no limit needed at first come into use with an update.
func TestLiveV2UpdateEnablesAController(t *testing.T) {
	h := needV2(t)
	l := newLive(t, h, nil)
	for _, name := range []string{"rdma", "pids"} {
		if !h.offers(name) {
			t.Skip("needs the cgroup controller " + name)
		}
		if err := writeFile(filepath.Join(filepath.Dir(l.Dir), "cgroup.subtree_control"), "-"+name); err != nil {
			t.Fatal(err)
		}
	}
	if got := readString(l.Dir, "cgroup.controllers"); strings.Contains(got, "pids") {
		t.Fatalf("controllers = %s after they were switched off", got)
	}
	l.sleepers(1)
	if err := l.Group.Update(&specs.LinuxResources{Unified: map[string]string{"rdma.max": ""}, Pids: &specs.LinuxPids{Limit: ptr(int64(8))}}); err != nil {
		t.Fatal(err)
	}
	l.want("", "pids.max", "8")
	if got := readString(l.Dir, "cgroup.controllers"); !strings.Contains(got, "rdma") {
		t.Errorf("controllers = %s, want rdma among them", got)
	}
}

func TestLiveV2OOM(t *testing.T) {
	h := needV2(t)
	l := newLive(t, h, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(24 << 20)), Swap: ptr(int64(24 << 20))}})
	l.sleepers(1)
	events, err := l.Group.OOM(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.run("head -c 100000000 /dev/zero | tail | wc -c; exec true"); err != nil {
		t.Logf("shell: %v", err)
	}
	wantEvent(t, events)
	if err := l.Group.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, events) // the group is empty
}

func TestLiveV2CheckBeforeUpdate(t *testing.T) {
	h := needV2(t)
	l := newLive(t, h, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20))}})
	pid := l.sleepers(1)[0]
	m := &specs.LinuxMemory{Limit: ptr(int64(4096)), CheckBeforeUpdate: ptr(true)}
	if err := l.Group.Update(&specs.LinuxResources{Memory: m}); err == nil || !strings.Contains(err.Error(), "rejecting memory limit") {
		t.Errorf("Update = %v", err)
	}
	if err := unix.Kill(pid, 0); err != nil {
		t.Errorf("the process was killed: %v", err)
	}
	l.want("", "memory.max", "67108864")
}

func TestLiveV2IO(t *testing.T) {
	h := needV2(t)
	major, minor := blockDevice(t)
	dev := specs.LinuxThrottleDevice{Rate: 1 << 20}
	dev.Major, dev.Minor = major, minor
	l := newLive(t, h, &specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{
		ThrottleReadBpsDevice:   []specs.LinuxThrottleDevice{dev},
		ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{dev},
		Weight:                  ptr(uint16(500)),
	}})
	l.want("", "io.max", deviceName(major, minor)+" rbps=1048576 wbps=max riops=max wiops=1048576")
	if !exists(filepath.Join(l.Dir, "io.bfq.weight")) {
		l.want("", "io.weight", "default 4950")
	}
	dev.Rate = 0
	err := l.Group.Update(&specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{
		ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{dev}, ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{dev},
	}})
	if err != nil {
		t.Fatal(err)
	}
	l.want("", "io.max", "")
}

func TestLiveV2Hugetlb(t *testing.T) {
	h := needV2(t)
	pages := hugepageSizes("/")
	if len(pages) == 0 || !h.offers("hugetlb") {
		t.Skip("needs the kernel to have huge pages")
	}
	size := pages[0]
	l := newLive(t, h, &specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: size, Limit: 1 << 30}}})
	l.want("", "hugetlb."+size+".max", "1073741824", "hugetlb."+size+".rsvd.max", "1073741824")
	s, err := l.Group.Stats()
	if _, ok := s.Hugetlb[size]; err != nil || !ok {
		t.Errorf("Stats = %+v, %v", s.Hugetlb, err)
	}
}

func TestLiveV2Stats(t *testing.T) {
	l := newLive(t, needV2(t), nil)
	l.sleepers(2)
	if err := l.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec true"); err != nil {
		t.Fatal(err)
	}
	s, err := l.Group.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.CPU.Usage.Total == 0 || s.Memory.Usage.Usage == 0 || s.Memory.Usage.Limit != maxUint || len(s.Memory.Raw) == 0 || s.Pids.Current != 2 {
		t.Errorf("Stats = %+v", s)
	}
	if exists(filepath.Join(l.Dir, "memory.peak")) && s.Memory.Usage.Max == 0 {
		t.Error("no peak")
	}
	if b, err := os.ReadFile(filepath.Join(l.Dir, "cpu.pressure")); err == nil && (s.CPU.PSI == nil || s.Memory.PSI == nil || s.Blkio.PSI == nil) {
		t.Errorf("no pressure, but the kernel says %s", b)
	}
}

// systemd as the first process moves itself one level down; exec must follow.
func TestLiveV2JoinFollowsTheFirstProcess(t *testing.T) {
	l := newLive(t, needV2(t), nil)
	pid := l.sleepers(1)[0]
	below := filepath.Join(l.Dir, "init.scope")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(filepath.Join(below, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(filepath.Join(l.Dir, "cgroup.subtree_control"), "+pids"); err != nil {
		t.Fatal(err)
	}
	j, err := l.Group.Join("", pid)
	if err != nil || j.Dir != below {
		t.Errorf("Join = %+v, %v, want %s", j, err, below)
	}
	if _, err := l.Group.Join("", os.Getpid()); err == nil {
		t.Error("Join followed a process that is not in the group")
	}
}

func TestLiveV2Ownership(t *testing.T) {
	h := needV2(t)
	l := makeLive(t, h, Request{ID: "c", CgroupsPath: scope() + "/owned", OwnerUID: ptr(4321)})
	for file, want := range map[string]uint32{
		".": 4321, "cgroup.procs": 4321, "cgroup.subtree_control": 4321, "cgroup.freeze": 0, "cgroup.max.depth": 0,
	} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(l.Dir, file), &st); err != nil || st.Uid != want {
			t.Errorf("%s is owned by %d, %v, want %d", file, st.Uid, err, want)
		}
	}
}

func TestLiveV2ThreadedIsRefused(t *testing.T) {
	h := needV2(t)
	l := newLive(t, h, nil)
	inner := filepath.Join(l.Dir, "threads")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(filepath.Join(inner, "cgroup.type"), "threaded"); err != nil {
		t.Fatal(err)
	}
	path := scope() + "/" + l.name()
	for _, below := range []string{"/threads", "/other"} {
		if _, err := NewPlan(h, Request{ID: "x", CgroupsPath: path + below}); err == nil || !strings.Contains(err.Error(), "thread") {
			t.Errorf("NewPlan(%s) = %v, want a word about threads", path+below, err)
		}
	}
	// Processes in a threaded subtree are found all the same.
	pid := l.sleepers(1)[0]
	if err := writeFile(filepath.Join(inner, "cgroup.threads"), strconv.Itoa(pid)); err != nil {
		t.Fatal(err)
	}
	if pids, err := l.Group.Pids(); err != nil || len(pids) != 1 {
		t.Errorf("Pids = %v, %v", pids, err)
	}
}

// Only our own program is replaced by an update; systemd's, say, stays.
func TestLiveV2DevicesOfOthersStay(t *testing.T) {
	h := needV2(t)
	rules := append([]specs.LinuxDeviceCgroup{{Access: "rwm"}}, DefaultDeviceRules()...)
	l := newLive(t, h, &specs.LinuxResources{Devices: rules})
	group, err := unix.Open(l.Dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(group)
	for range 3 {
		if err := l.Group.Update(&specs.LinuxResources{Devices: rules}); err != nil {
			t.Fatal(err)
		}
	}
	ours, err := attachedPrograms(group)
	if err != nil || len(ours) != 1 {
		t.Errorf("%d programs of ours, %v, want 1", len(ours), err)
	}
	closeAll(ours)
}

func TestLiveV2MissingControllerIsAnError(t *testing.T) {
	h := needV2(t)
	_, err := NewPlan(h, Request{ID: "x", Resources: &specs.LinuxResources{Unified: map[string]string{"nothing.max": "1"}}})
	if !errors.Is(err, ErrController) {
		t.Errorf("NewPlan = %v, want ErrController", err)
	}
}

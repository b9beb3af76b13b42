package runtimetest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// limit is one resource: what is asked for, and the file that must show it on either version.
type limit struct {
	name       string
	set        func(r *specs.LinuxResources)
	controller string
	v1, v2     map[string]string // file: content; nil: not there in this version
}

func cpuLimits() []limit {
	return []limit{
		{
			"cpu shares", func(r *specs.LinuxResources) { r.CPU = &specs.LinuxCPU{Shares: ptr(uint64(2048))} }, "cpu",
			map[string]string{"cpu.shares": "2048"},
			map[string]string{},
		},
		{"cpu quota", func(r *specs.LinuxResources) {
			r.CPU = &specs.LinuxCPU{Quota: ptr(int64(25000)), Period: ptr(uint64(50000))}
		}, "cpu", map[string]string{"cpu.cfs_quota_us": "25000", "cpu.cfs_period_us": "50000"}, map[string]string{"cpu.max": "25000 50000"}},
		{
			"cpu quota alone", func(r *specs.LinuxResources) { r.CPU = &specs.LinuxCPU{Quota: ptr(int64(25000))} }, "cpu",
			map[string]string{"cpu.cfs_quota_us": "25000"},
			map[string]string{"cpu.max": "25000 100000"},
		},
		{
			"cpu period alone", func(r *specs.LinuxResources) { r.CPU = &specs.LinuxCPU{Period: ptr(uint64(50000))} }, "cpu",
			map[string]string{"cpu.cfs_period_us": "50000"},
			map[string]string{"cpu.max": "max 50000"},
		},
		{
			"cpu no quota", func(r *specs.LinuxResources) { r.CPU = &specs.LinuxCPU{Quota: ptr(int64(-1))} }, "cpu",
			map[string]string{"cpu.cfs_quota_us": "-1"},
			map[string]string{"cpu.max": "max 100000"},
		},
		{
			"cpu idle", func(r *specs.LinuxResources) { r.CPU = &specs.LinuxCPU{Idle: ptr(int64(1))} }, "cpu",
			map[string]string{"cpu.idle": "1"},
			map[string]string{"cpu.idle": "1"},
		},
		{"cpu burst", func(r *specs.LinuxResources) {
			r.CPU = &specs.LinuxCPU{Quota: ptr(int64(50000)), Burst: ptr(uint64(20000))}
		}, "cpu", map[string]string{"cpu.cfs_burst_us": "20000"}, map[string]string{"cpu.max.burst": "20000"}},
		{
			"cpuset", func(r *specs.LinuxResources) { r.CPU = &specs.LinuxCPU{Cpus: "0", Mems: "0"} }, "cpuset",
			map[string]string{"cpuset.cpus": "0", "cpuset.mems": "0"},
			map[string]string{"cpuset.cpus": "0", "cpuset.mems": "0"},
		},
		{"realtime", func(r *specs.LinuxResources) {
			r.CPU = &specs.LinuxCPU{RealtimePeriod: ptr(uint64(500000)), RealtimeRuntime: ptr(int64(1000))}
		}, "cpu", map[string]string{"cpu.rt_period_us": "500000", "cpu.rt_runtime_us": "1000"}, nil},
	}
}

const mib = 1 << 20

func memoryLimits() []limit {
	mem := func(set func(m *specs.LinuxMemory)) func(r *specs.LinuxResources) {
		return func(r *specs.LinuxResources) { r.Memory = &specs.LinuxMemory{}; set(r.Memory) }
	}
	return []limit{
		{
			"memory", mem(func(m *specs.LinuxMemory) { m.Limit = ptr(int64(64 * mib)) }), "memory",
			map[string]string{"memory.limit_in_bytes": "67108864"},
			map[string]string{"memory.max": "67108864"},
		},
		{
			"memory unlimited", mem(func(m *specs.LinuxMemory) { m.Limit = ptr(int64(-1)) }), "memory",
			map[string]string{"memory.limit_in_bytes": "9223372036854771712"},
			map[string]string{"memory.max": "max"},
		},
		{
			"memory reservation", mem(func(m *specs.LinuxMemory) { m.Limit = ptr(int64(64 * mib)); m.Reservation = ptr(int64(32 * mib)) }), "memory",
			map[string]string{"memory.soft_limit_in_bytes": "33554432"},
			map[string]string{"memory.low": "33554432"},
		},
		{
			"memory and swap", mem(func(m *specs.LinuxMemory) { m.Limit = ptr(int64(64 * mib)); m.Swap = ptr(int64(96 * mib)) }), "memory",
			map[string]string{"memory.memsw.limit_in_bytes": "100663296"},
			map[string]string{"memory.swap.max": "33554432"},
		},
		{
			"no swap", mem(func(m *specs.LinuxMemory) { m.Limit = ptr(int64(64 * mib)); m.Swap = ptr(int64(64 * mib)) }), "memory",
			map[string]string{"memory.memsw.limit_in_bytes": "67108864"},
			map[string]string{"memory.swap.max": "0"},
		},
		{
			"swappiness", mem(func(m *specs.LinuxMemory) { m.Swappiness = ptr(uint64(7)) }), "memory",
			map[string]string{"memory.swappiness": "7"},
			nil,
		},
		{
			"kernel memory is ignored", mem(func(m *specs.LinuxMemory) { m.Limit = ptr(int64(64 * mib)); m.Kernel = ptr(int64(32 * mib)) }), "memory",
			map[string]string{"memory.limit_in_bytes": "67108864"},
			map[string]string{"memory.max": "67108864"},
		},
	}
}

func otherLimits() []limit {
	return []limit{
		{
			"pids", func(r *specs.LinuxResources) { r.Pids = &specs.LinuxPids{Limit: ptr(int64(50))} }, "pids",
			map[string]string{"pids.max": "50"},
			map[string]string{"pids.max": "50"},
		},
		{
			"pids unlimited", func(r *specs.LinuxResources) { r.Pids = &specs.LinuxPids{Limit: ptr(int64(-1))} }, "pids",
			map[string]string{"pids.max": "max"},
			map[string]string{"pids.max": "max"},
		},
		{"hugetlb", func(r *specs.LinuxResources) {
			r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 * mib}}
		}, "hugetlb", map[string]string{"hugetlb.2MB.limit_in_bytes": "4194304"}, map[string]string{"hugetlb.2MB.max": "4194304"}},
		{"block weight", func(r *specs.LinuxResources) { r.BlockIO = &specs.LinuxBlockIO{Weight: ptr(uint16(500))} }, "blkio|io", nil, nil},
		{
			"network class", func(r *specs.LinuxResources) { r.Network = &specs.LinuxNetwork{ClassID: ptr(uint32(0x100001))} }, "net_cls",
			map[string]string{"net_cls.classid": "1048577"},
			nil,
		},
		{"network priority", func(r *specs.LinuxResources) {
			r.Network = &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{Name: "lo", Priority: 3}}}
		}, "net_prio", map[string]string{"net_prio.ifpriomap": "lo 3"}, nil},
		{"rdma", func(r *specs.LinuxResources) {
			r.Rdma = map[string]specs.LinuxRdma{"mlx5_1": {HcaHandles: ptr(uint32(3))}}
		}, "rdma", nil, nil},
	}
}

func TestResourcesAreWritten(t *testing.T) {
	t.Parallel()
	for _, l := range append(append(cpuLimits(), memoryLimits()...), otherLimits()...) {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			files := l.v1
			if unifiedOnly() {
				files = l.v2
			}
			if files == nil {
				t.Skip("has no file of its own in this version")
			}
			needController(t, l.controller)
			b := newBundle(t, "sleep", "60")
			for file := range files {
				if !cgroupFileExists(l.controller, file) {
					t.Skipf("needs the kernel to have %s", file)
				}
			}
			if l.name == "cpu idle" || l.name == "cpu burst" {
				peerLacks(t, "older than this", "runc", "crun")
			}
			if l.name == "kernel memory is ignored" || l.name == "pids unlimited" || l.name == "cpu no quota" {
				peerLacks(t, "crun 1.8 fails", "crun")
			}
			l.set(b.Spec.Linux.Resources)
			b.up()
			for file, want := range files {
				if got := b.cgroupFile(l.controller, file); got != want && !strings.Contains("\n"+got+"\n", "\n"+want+"\n") {
					t.Errorf("%s = %q, want %q", file, got, want)
				}
			}
		})
	}
}

// cgroupFileExists looks for a file in a group made for the purpose: some are not there in the root.
func cgroupFileExists(controller, file string) bool {
	dir := filepath.Join(hierarchies()[controller], "tt-look-"+strconv.Itoa(int(serial.Add(1))))
	if unifiedOnly() {
		dir = filepath.Join("/sys/fs/cgroup", filepath.Base(dir))
		// The control files of a child come with the parent's subtree_control.
		os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+"+controller), 0)
	}
	if os.Mkdir(dir, 0o755) != nil {
		return false
	}
	defer os.Remove(dir)
	_, err := os.Stat(filepath.Join(dir, file))
	return err == nil
}

// Shares become a weight in version 2. The curve that the specification's authors agreed on has 1024 at 100.
func TestSharesBecomeWeightV2(t *testing.T) {
	t.Parallel()
	needCgroupV2(t)
	needController(t, "cpu")
	last := 0
	for _, shares := range []uint64{2, 512, 1024, 4096, 262144} {
		b := newBundle(t, "sleep", "60")
		b.Spec.Linux.Resources.CPU = &specs.LinuxCPU{Shares: &shares}
		b.up()
		w, err := strconv.Atoi(b.cgroupFile("cpu", "cpu.weight"))
		if err != nil || w < 1 || w > 10000 || w <= last && shares > 2 {
			t.Errorf("shares %d: weight %d after %d", shares, w, last)
		}
		last = w
	}
}

func TestUnifiedResourcesV2(t *testing.T) {
	t.Parallel()
	needCgroupV2(t)
	needController(t, "memory")
	b := newBundle(t, "sleep", "60")
	b.Spec.Linux.Resources.Unified = map[string]string{"memory.high": "50331648", "pids.max": "55", "cpu.weight": "77"}
	b.up()
	b.wantFile(t, "", "memory.high", "50331648")
	b.wantFile(t, "", "pids.max", "55")
	b.wantFile(t, "", "cpu.weight", "77")
	for _, bad := range []string{"../memory.high", "nonsense.max", "memory/high"} {
		b := newBundle(t, "echo")
		b.Spec.Linux.Resources.Unified = map[string]string{bad: "1"}
		wantRefusal(t, b.run())
	}
}

func TestUnifiedResourcesAreRefusedV1(t *testing.T) {
	t.Parallel()
	needCgroupV1(t)
	peerLacks(t, "crun 1.8 ignores them", "crun")
	b := newBundle(t, "echo")
	b.Spec.Linux.Resources.Unified = map[string]string{"memory.high": "50331648"}
	wantRefusal(t, b.run(), "unified")
}

// blockDevice is a disk of this machine.
func blockDevice(t *testing.T) (major, minor int64) {
	t.Helper()
	disks, _ := filepath.Glob("/sys/block/*/dev")
	for _, d := range disks {
		text, err := os.ReadFile(d)
		var a, b int64
		if err == nil && !strings.Contains(d, "loop") && !strings.Contains(d, "zram") && !strings.Contains(d, "ram") {
			parts := strings.Split(strings.TrimSpace(string(text)), ":")
			a, _ = strconv.ParseInt(parts[0], 10, 64)
			b, _ = strconv.ParseInt(parts[1], 10, 64)
			return a, b
		}
	}
	t.Skip("needs a disk")
	return 0, 0
}

func TestBlockThrottles(t *testing.T) {
	t.Parallel()
	needRoot(t)
	major, minor := blockDevice(t)
	dev := func(rate uint64) []specs.LinuxThrottleDevice {
		d := specs.LinuxThrottleDevice{Rate: rate}
		d.Major, d.Minor = major, minor
		return []specs.LinuxThrottleDevice{d}
	}
	b := newBundle(t, "sleep", "60")
	b.Spec.Linux.Resources.BlockIO = &specs.LinuxBlockIO{
		ThrottleReadBpsDevice: dev(1000000), ThrottleWriteBpsDevice: dev(2000000), ThrottleReadIOPSDevice: dev(300), ThrottleWriteIOPSDevice: dev(400),
	}
	name := strconv.FormatInt(major, 10) + ":" + strconv.FormatInt(minor, 10)
	if unifiedOnly() {
		needController(t, "io")
		b.up()
		b.wantFile(t, "io", "io.max", name+" rbps=1000000 wbps=2000000 riops=300 wiops=400")
		return
	}
	needController(t, "blkio")
	b.up()
	b.wantFile(t, "blkio", "blkio.throttle.read_bps_device", name+" 1000000")
	b.wantFile(t, "blkio", "blkio.throttle.write_bps_device", name+" 2000000")
	b.wantFile(t, "blkio", "blkio.throttle.read_iops_device", name+" 300")
	b.wantFile(t, "blkio", "blkio.throttle.write_iops_device", name+" 400")
}

func TestBlockWeight(t *testing.T) {
	t.Parallel()
	peerLacks(t, "crun 1.8 knows no bfq", "crun")
	b := newBundle(t, "sleep", "60")
	b.Spec.Linux.Resources.BlockIO = &specs.LinuxBlockIO{Weight: ptr(uint16(500))}
	if unifiedOnly() {
		needController(t, "io")
		// io.bfq.weight takes the value as it is; io.weight takes 1..10000 for 10..1000.
		if cgroupFileExists("io", "io.bfq.weight") {
			b.up()
			if got := b.cgroupFile("io", "io.bfq.weight"); !strings.Contains(got, "500") {
				t.Errorf("io.bfq.weight = %q", got)
			}
		}
		return
	}
	for _, file := range []string{"blkio.weight", "blkio.bfq.weight"} {
		if cgroupFileExists("blkio", file) {
			b.up()
			b.wantFile(t, "blkio", file, "500")
			return
		}
	}
	t.Skip("needs a kernel with block I/O weights")
}

// What no controller here can do is an error, not silence.
func TestLimitsWithoutTheirControllerAreRefused(t *testing.T) {
	t.Parallel()
	peerLacks(t, "ignore some of them", "crun", "runc")
	for _, l := range otherLimits() {
		files := l.v1
		if unifiedOnly() {
			files = l.v2
		}
		if l.controller == "blkio|io" || unifiedOnly() && files == nil || hierarchies()[l.controller] != "" || inUnified(l.controller) {
			continue
		}
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t, "echo")
			l.set(b.Spec.Linux.Resources)
			wantRefusal(t, b.run())
		})
	}
}

// inUnified says whether cgroup v2, be it a part of a hybrid, has a controller.
func inUnified(controller string) bool {
	text, _ := os.ReadFile(filepath.Join(hierarchies()[""], "cgroup.controllers"))
	return contains(strings.Fields(string(text)), controller)
}

// A runtime that cannot use a controller of the hybrid's second part says so; one that can, uses it.
func TestHugepageLimitInHybrid(t *testing.T) {
	t.Parallel()
	needCgroupV1(t)
	if !inUnified("hugetlb") || hierarchies()["hugetlb"] != "" {
		t.Skip("needs a hybrid with hugetlb in its cgroup v2 part")
	}
	peerLacks(t, "ignore it", "runc", "crun")
	b := newBundle(t, "sleep", "60")
	b.Spec.Linux.Resources.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 * mib}}
	if r := b.tryCreate(); r.code != 0 {
		wantRefusal(t, r, "hugetlb")
		return
	}
	b.wantFile(t, "", "hugetlb.2MB.max", "4194304")
}

func TestBadLimitsAreRefused(t *testing.T) {
	t.Parallel()
	needController(t, "memory")
	cases := map[string]func(r *specs.LinuxResources){
		"swap below memory": func(r *specs.LinuxResources) {
			r.Memory = &specs.LinuxMemory{Limit: ptr(int64(64 * mib)), Swap: ptr(int64(32 * mib))}
		},
		"cpus that are not there": func(r *specs.LinuxResources) { r.CPU = &specs.LinuxCPU{Cpus: "4000"} },
		"no list of cpus":         func(r *specs.LinuxResources) { r.CPU = &specs.LinuxCPU{Cpus: "x"} },
		"tiny period":             func(r *specs.LinuxResources) { r.CPU = &specs.LinuxCPU{Period: ptr(uint64(1)), Quota: ptr(int64(1))} },
		"page size": func(r *specs.LinuxResources) {
			r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "3MB", Limit: 1}}
		},
		"block weight": func(r *specs.LinuxResources) { r.BlockIO = &specs.LinuxBlockIO{Weight: ptr(uint16(5))} },
		"device": func(r *specs.LinuxResources) {
			r.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Type: "x", Access: "rwm"}}
		},
		"access": func(r *specs.LinuxResources) {
			r.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Type: "c", Access: "q"}}
		},
	}
	lacks := map[string][]string{
		"page size": {"crun", "runc"}, "device": {"crun", "runc"}, "access": {"crun", "runc"}, "block weight": {"crun", "runc"}, "cpus that are not there": {"crun"},
		"tiny period": {"crun"}, "no list of cpus": {"crun"}, "swap below memory": {"crun"},
	}
	for name, set := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peerLacks(t, "accepts it", lacks[name]...)
			b := newBundle(t, "echo")
			set(b.Spec.Linux.Resources)
			wantRefusal(t, b.run())
			for _, l := range b.leftovers() {
				t.Errorf("left %s", l)
			}
		})
	}
}

func TestMemoryLimitKillsWhatGoesOverIt(t *testing.T) {
	t.Parallel()
	needController(t, "memory")
	b := newBundle(t, "alloc", "200")
	b.Spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(64 * mib)), Swap: ptr(int64(64 * mib))}
	if r := b.run(); r.code != 128+int(unix.SIGKILL) {
		t.Errorf("want 137: %v", r)
	}
	b.Spec.Process.Args[2] = "16"
	if r := b.mustRun(); r.stdout != "allocated 16\n" {
		t.Error(r)
	}
}

func TestSmallMemoryLimitStillStarts(t *testing.T) {
	t.Parallel()
	needController(t, "memory")
	b := newBundle(t, "echo", "fits")
	b.Spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(12 * mib))}
	if r := b.mustRun(); r.stdout != "fits\n" {
		t.Error(r)
	}
}

func TestPidsLimitStopsForks(t *testing.T) {
	t.Parallel()
	needController(t, "pids")
	b := newBundle(t)
	b.Spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(20))}
	r := b.do("fork 100")
	n, _ := strconv.Atoi(r[0].Out)
	if n < 1 || n >= 20 || !strings.Contains(r[0].Err, "resource temporarily unavailable") {
		t.Errorf("%d children: %v", n, r)
	}
}

func TestCPUQuotaSlowsDown(t *testing.T) {
	t.Parallel()
	needController(t, "cpu")
	b := newBundle(t, "spin", "0.5")
	b.Spec.Linux.Resources.CPU = &specs.LinuxCPU{Quota: ptr(int64(2000)), Period: ptr(uint64(20000))}
	ms, err := strconv.Atoi(strings.TrimSpace(b.mustRun().stdout))
	if err != nil || ms > 200 {
		t.Errorf("a tenth of a CPU for 0.5 s gave %d ms, %v", ms, err)
	}
}

func TestCpusetBindsTheProcess(t *testing.T) {
	t.Parallel()
	needController(t, "cpuset")
	b := newBundle(t)
	if cpus := b.ownAffinity(); len(cpus) < 2 {
		t.Skip("needs two CPUs")
	}
	b.Spec.Linux.Resources.CPU = &specs.LinuxCPU{Cpus: "1"}
	if got := b.report().Affinity; len(got) != 1 || got[0] != 1 {
		t.Errorf("CPUs %v, want 1", got)
	}
}

func TestOOMKillerCanBeDisabledV1(t *testing.T) {
	t.Parallel()
	needCgroupV1(t)
	needController(t, "memory")
	b := newBundle(t, "sleep", "60")
	b.Spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(64 * mib)), DisableOOMKiller: ptr(true)}
	b.up()
	if got := b.cgroupFile("memory", "memory.oom_control"); !strings.Contains(got, "oom_kill_disable 1") {
		t.Errorf("memory.oom_control = %q", got)
	}
}

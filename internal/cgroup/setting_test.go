package cgroup

import (
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// settingText shows what resources come to, one "controller file=value" a line.
func settingText(t *testing.T, h *Host, r *specs.LinuxResources) (string, error) {
	t.Helper()
	c, err := convert(r, h.place)
	if err != nil {
		return "", err
	}
	var lines []string
	for _, name := range c.order {
		for _, s := range c.settings[name] {
			line := name + " " + s.file + "=" + s.value
			if s.other != nil {
				line += " else " + s.other.file + "=" + s.other.value
			}
			if s.optional {
				line += " ?"
			}
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n"), nil
}

// allV1 are the v1 controllers of a machine that has them all.
func allV1() []string {
	return []string{"cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma", "freezer"}
}

func throttleDevice(major, minor int64, rate uint64) specs.LinuxThrottleDevice {
	d := specs.LinuxThrottleDevice{Rate: rate}
	d.Major, d.Minor = major, minor
	return d
}

func weightDevice(major, minor int64, weight, leaf *uint16) specs.LinuxWeightDevice {
	d := specs.LinuxWeightDevice{Weight: weight, LeafWeight: leaf}
	d.Major, d.Minor = major, minor
	return d
}

func TestConversions(t *testing.T) {
	mib := func(n int64) *int64 { return ptr(n << 20) }
	tests := []struct {
		name   string
		r      specs.LinuxResources
		v1, v2 string // "" is nothing; an error begins with "!"
	}{
		{"nothing", specs.LinuxResources{Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}, Pids: &specs.LinuxPids{}, BlockIO: &specs.LinuxBlockIO{}, Network: &specs.LinuxNetwork{}}, "", ""},
		{"zeros", specs.LinuxResources{
			Memory: withKernel(specs.LinuxMemory{Limit: ptr(int64(0)), Swap: ptr(int64(0)), Reservation: ptr(int64(0)), KernelTCP: ptr(int64(0)), DisableOOMKiller: ptr(false)}, 0),
			CPU:    &specs.LinuxCPU{Shares: ptr(uint64(0)), Quota: ptr(int64(0)), Period: ptr(uint64(0)), RealtimeRuntime: ptr(int64(0)), RealtimePeriod: ptr(uint64(0))},
		}, "", ""},
		{"pids none", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(-1))}}, "pids pids.max=max", "pids pids.max=max"},
		{"pids zero", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(0))}}, "pids pids.max=0", "pids pids.max=0"},
		{
			"memory",
			specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: mib(2), Swap: mib(3), Reservation: mib(1)}},
			"memory memory.limit_in_bytes=2097152\nmemory memory.memsw.limit_in_bytes=3145728\nmemory memory.soft_limit_in_bytes=1048576",
			"memory memory.swap.max=1048576\nmemory memory.max=2097152\nmemory memory.low=1048576",
		},
		{
			"memory as swap",
			specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: mib(2), Swap: mib(2)}},
			"memory memory.limit_in_bytes=2097152\nmemory memory.memsw.limit_in_bytes=2097152",
			"memory memory.swap.max=0 ?\nmemory memory.max=2097152",
		},
		{
			"memory without limit",
			specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(-1))}},
			"memory memory.limit_in_bytes=-1\nmemory memory.memsw.limit_in_bytes=-1",
			"memory memory.swap.max=max ?\nmemory memory.max=max",
		},
		{
			"swap without limit",
			specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: mib(1), Swap: ptr(int64(-1))}},
			"memory memory.limit_in_bytes=1048576\nmemory memory.memsw.limit_in_bytes=-1",
			"memory memory.swap.max=max ?\nmemory memory.max=1048576",
		},
		{
			"swap below memory",
			specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: mib(2), Swap: mib(1)}},
			"!are less than memory.limit", "!are less than memory.limit",
		},
		{"negative memory", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(-2))}}, "!neither -1 nor", "!neither -1 nor"},
		{"kernel memory", specs.LinuxResources{Memory: withKernel(specs.LinuxMemory{}, 1<<20)}, "memory memory.kmem.limit_in_bytes=1048576 ?", ""},
		{"kernel TCP memory", specs.LinuxResources{Memory: &specs.LinuxMemory{KernelTCP: mib(1)}}, "memory memory.kmem.tcp.limit_in_bytes=1048576", "!kernelTCP"},
		{"swappiness", specs.LinuxResources{Memory: &specs.LinuxMemory{Swappiness: ptr(uint64(0))}}, "memory memory.swappiness=0", "!swappiness"},
		{"too much swappiness", specs.LinuxResources{Memory: &specs.LinuxMemory{Swappiness: ptr(uint64(101))}}, "!not in 0-100", "!not in 0-100"},
		{"no OOM killer", specs.LinuxResources{Memory: &specs.LinuxMemory{DisableOOMKiller: ptr(true)}}, "memory memory.oom_control=1", "!disableOOMKiller"},
		{"hierarchy", specs.LinuxResources{Memory: &specs.LinuxMemory{UseHierarchy: ptr(true)}}, "memory memory.use_hierarchy=1", ""},
		{"no hierarchy", specs.LinuxResources{Memory: &specs.LinuxMemory{UseHierarchy: ptr(false)}}, "memory memory.use_hierarchy=0", "!always hierarchical"},
		{
			"cpu",
			specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(1024)), Quota: ptr(int64(5000)), Burst: ptr(uint64(2000)), Period: ptr(uint64(10000)), Cpus: "0-2", Mems: "0"}},
			"cpu cpu.shares=1024\ncpu cpu.cfs_period_us=10000\ncpu cpu.cfs_quota_us=5000\ncpu cpu.cfs_burst_us=2000\ncpuset cpuset.cpus=0-2\ncpuset cpuset.mems=0",
			"cpu cpu.weight=100\ncpu cpu.max=5000 10000\ncpu cpu.max.burst=2000\ncpuset cpuset.cpus=0-2\ncpuset cpuset.mems=0",
		},
		{"quota alone", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(5000))}}, "cpu cpu.cfs_quota_us=5000", "cpu cpu.max=5000 100000"},
		{"no quota", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(-1)), Period: ptr(uint64(5000))}}, "cpu cpu.cfs_period_us=5000\ncpu cpu.cfs_quota_us=-1", "cpu cpu.max=max 5000"},
		{"burst above quota", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(5)), Burst: ptr(uint64(6))}}, "!larger than", "!larger than"},
		{"realtime", specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimeRuntime: ptr(int64(5)), RealtimePeriod: ptr(uint64(6))}}, "cpu cpu.rt_period_us=6\ncpu cpu.rt_runtime_us=5", "!realtime"},
		{"idle", specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: ptr(int64(1)), Shares: ptr(uint64(512))}}, "cpu cpu.shares=512\ncpu cpu.idle=1", "cpu cpu.idle=1"},
		{"not idle", specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: ptr(int64(0))}}, "cpu cpu.idle=0 ?", "cpu cpu.idle=0 ?"},
		{"shares too small", specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(1))}}, "!minimum allowed cpu-shares", "cpu cpu.weight=1"},
		{"shares too large", specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(262145))}}, "!maximum allowed cpu-shares", "cpu cpu.weight=10000"},
		{
			"huge pages",
			specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4096}}},
			"hugetlb hugetlb.2MB.rsvd.limit_in_bytes=4096 ?\nhugetlb hugetlb.2MB.limit_in_bytes=4096",
			"hugetlb hugetlb.2MB.rsvd.max=4096 ?\nhugetlb hugetlb.2MB.max=4096",
		},
		{"network class", specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: ptr(uint32(1048577))}}, "net_cls net_cls.classid=1048577", "!network.classID"},
		{
			"network priorities",
			specs.LinuxResources{Network: &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{Name: "lo", Priority: 3}, {Name: "eth0", Priority: 1}}}},
			"net_prio net_prio.ifpriomap=lo 3\nnet_prio net_prio.ifpriomap=eth0 1", "!network.priorities",
		},
		{
			"rdma",
			specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"b": {HcaObjects: ptr(uint32(7))}, "a": {HcaHandles: ptr(uint32(3)), HcaObjects: ptr(uint32(4))}}},
			"rdma rdma.max=a hca_handle=3 hca_object=4\nrdma rdma.max=b hca_object=7", "rdma rdma.max=a hca_handle=3 hca_object=4\nrdma rdma.max=b hca_object=7",
		},
		{"rdma of nothing", specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"a": {}}}, "!neither hcaHandles", "!neither hcaHandles"},
	}
	checkConversions(t, tests)
}

func TestBlockIOConversions(t *testing.T) {
	tests := []struct {
		name   string
		r      specs.LinuxResources
		v1, v2 string
	}{
		{
			"weight",
			specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(500)), WeightDevice: []specs.LinuxWeightDevice{weightDevice(8, 16, ptr(uint16(10)), nil)}}},
			"blkio blkio.weight=500 else blkio.bfq.weight=500\nblkio blkio.weight_device=8:16 10 else blkio.bfq.weight_device=8:16 10",
			"io io.bfq.weight=500 else io.weight=4950\nio io.bfq.weight=8:16 10 else io.weight=8:16 1",
		},
		{
			"rates",
			specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{
				ThrottleReadBpsDevice:   []specs.LinuxThrottleDevice{throttleDevice(8, 0, 100)},
				ThrottleWriteBpsDevice:  []specs.LinuxThrottleDevice{throttleDevice(8, 0, 200)},
				ThrottleReadIOPSDevice:  []specs.LinuxThrottleDevice{throttleDevice(8, 0, 0)},
				ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{throttleDevice(8, 0, 400)},
			}},
			"blkio blkio.throttle.read_bps_device=8:0 100\nblkio blkio.throttle.write_bps_device=8:0 200\nblkio blkio.throttle.read_iops_device=8:0 0\nblkio blkio.throttle.write_iops_device=8:0 400",
			"io io.max=8:0 rbps=100\nio io.max=8:0 wbps=200\nio io.max=8:0 riops=max\nio io.max=8:0 wiops=400",
		},
		{"weight too small", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(9))}}, "!not in 10-1000", "!not in 10-1000"},
		{"weight too large", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{weightDevice(8, 0, ptr(uint16(1001)), nil)}}}, "!not in 10-1000", "!not in 10-1000"},
		{"no weight", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{weightDevice(8, 0, nil, nil)}}}, "!neither weight", "!neither weight"},
		{"leaf weight", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{LeafWeight: ptr(uint16(100))}}, "!CFQ", "!no such setting"},
		{"leaf weight of a device", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{weightDevice(8, 0, nil, ptr(uint16(100)))}}}, "!CFQ", "!no such setting"},
	}
	checkConversions(t, tests)
}

func checkConversions(t *testing.T, tests []struct {
	name   string
	r      specs.LinuxResources
	v1, v2 string
},
) {
	t.Helper()
	v1, _ := probeTree(t, v1Files(allV1()...))
	v2, _ := probeTree(t, v2Files("/"))
	for _, test := range tests {
		for _, on := range []struct {
			name string
			h    *Host
			want string
		}{{"v1", v1, test.v1}, {"v2", v2, test.v2}} {
			got, err := settingText(t, on.h, &test.r)
			if wanted, ok := strings.CutPrefix(on.want, "!"); ok {
				if err == nil || !strings.Contains(err.Error(), wanted) {
					t.Errorf("%s on %s: %v, want an error with %q", test.name, on.name, err, wanted)
				}
				continue
			}
			if err != nil || got != on.want {
				t.Errorf("%s on %s:\n%s (%v)\nwant:\n%s", test.name, on.name, got, err, on.want)
			}
		}
	}
}

// CFQ had leaf weights; a kernel with it shows the file in the root group.
func TestLeafWeightOnAnOldKernel(t *testing.T) {
	h, _ := probeTree(t, with(v1Files("blkio"), "sys/fs/cgroup/blkio/blkio.leaf_weight", "500\n", "sys/fs/cgroup/blkio/blkio.leaf_weight_device", ""))
	got, err := settingText(t, h, &specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{
		LeafWeight: ptr(uint16(300)), WeightDevice: []specs.LinuxWeightDevice{weightDevice(8, 0, nil, ptr(uint16(100)))},
	}})
	want := "blkio blkio.leaf_weight=300\nblkio blkio.leaf_weight_device=8:0 100"
	if err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

// Android mounts cpuset without the prefix.
func TestCpusetWithoutPrefix(t *testing.T) {
	files := v1Files("cpuset", "freezer")
	delete(files, "sys/fs/cgroup/cpuset/cpuset.cpus")
	delete(files, "sys/fs/cgroup/cpuset/cpuset.mems")
	h, root := probeTree(t, with(files, "sys/fs/cgroup/cpuset/cpus", "0-7\n", "sys/fs/cgroup/cpuset/mems", "0\n"))
	p, err := NewPlan(h, Request{ID: "x", CgroupsPath: "/x", Resources: &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "1"}}})
	if err != nil {
		t.Fatal(err)
	}
	text := planText(p, root)
	for _, line := range []string{`write "1" to CG/cpuset/x/cpus`, `write "0" to CG/cpuset/x/mems`} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
}

// A given map of shares to weights, from both ends to the middle: the default
// must stay the default, and more must never become less.
func TestWeightFromShares(t *testing.T) {
	for shares, want := range map[uint64]uint64{0: 1, 2: 1, 3: 2, 512: 59, 1024: 100, 2048: 174, 262144: 10000, 1 << 40: 10000} {
		if got := weightFromShares(shares); got != want {
			t.Errorf("weightFromShares(%d) = %d, want %d", shares, got, want)
		}
	}
	last := uint64(0)
	for shares := uint64(2); shares <= maxShares; shares += 7 {
		w := weightFromShares(shares)
		if w < last || w < 1 || w > 10000 {
			t.Fatalf("weightFromShares(%d) = %d after %d", shares, w, last)
		}
		last = w
	}
	if ioWeight(10) != 1 || ioWeight(1000) != 10000 {
		t.Errorf("ioWeight: %d..%d", ioWeight(10), ioWeight(1000))
	}
}

func TestCPUMaxKeepsWhatIsNotAskedFor(t *testing.T) {
	for _, test := range []struct {
		quota  int64
		period uint64
		now    string
		want   string
	}{
		{5000, 0, "", "5000 100000"},
		{5000, 0, "max 20000", "5000 20000"},
		{0, 30000, "7000 20000", "7000 30000"},
		{-1, 0, "7000 20000", "max 20000"},
		{0, 30000, "", "max 30000"},
	} {
		if got := cpuMax(test.quota, test.period, test.now); got != test.want {
			t.Errorf("cpuMax(%d, %d, %q) = %q, want %q", test.quota, test.period, test.now, got, test.want)
		}
	}
}

func TestSwapUpdateCountsFromTheLimitInForce(t *testing.T) {
	root := tree(t, map[string]string{"g/memory.max": "1000\n", "free/memory.max": "max\n"})
	m := &specs.LinuxMemory{Swap: ptr(int64(1500))}
	got, _, err := swapV2(place{v2: true, dir: root + "/g"}, m)
	if got != "500" || err != nil {
		t.Errorf("swapV2 = %q, %v, want 500", got, err)
	}
	if _, _, err := swapV2(place{v2: true, dir: root + "/free"}, m); err == nil {
		t.Error("swap without any memory limit was converted")
	}
}

func TestUnifiedNeedsItsControllers(t *testing.T) {
	list, needed, err := unifiedSettings(map[string]string{"memory.high": "1", "cgroup.max.depth": "2", "io.max": "a\n b \n\n"}, strings.Fields(v2All))
	var got []string
	for _, s := range list {
		got = append(got, s.file+"="+s.value)
	}
	if want := []string{"cgroup.max.depth=2", "io.max=a", "io.max=b", "memory.high=1"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("settings = %q, %v, want %q", got, err, want)
	}
	if want := []string{"io", "memory"}; !slices.Equal(needed, want) {
		t.Errorf("controllers = %q, want %q", needed, want)
	}
}

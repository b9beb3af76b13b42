package cgroup

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestStatsOfV1(t *testing.T) {
	root := tree(t, map[string]string{
		"cpu/cpu.stat":                                    "nr_periods 4\nnr_throttled 3\nthrottled_time 99\nnr_bursts 2\nburst_time 7\n",
		"cpu/cpuacct.usage":                               "5000\n",
		"cpu/cpuacct.stat":                                "user 2\nsystem 1\n",
		"cpu/cpuacct.usage_percpu":                        "2000 3000 \n",
		"cpu/cpuacct.usage_all":                           "cpu user system\n0 1500 500\n1 2500 500\n",
		"cpuset/cpuset.cpus":                              "0-1,3\n",
		"cpuset/cpuset.mems":                              "0\n",
		"cpuset/cpuset.mem_hardwall":                      "1\n",
		"cpuset/cpuset.sched_relax_domain_level":          "-1\n",
		"memory/memory.stat":                              "cache 10\nrss 20\n",
		"memory/memory.usage_in_bytes":                    "30\n",
		"memory/memory.limit_in_bytes":                    "1000\n",
		"memory/memory.max_usage_in_bytes":                "40\n",
		"memory/memory.failcnt":                           "2\n",
		"memory/memory.kmem.usage_in_bytes":               "5\n",
		"pids/pids.current":                               "3\n",
		"pids/pids.max":                                   "9\n",
		"blkio/blkio.throttle.io_serviced_recursive":      "8:0 Read 1\n8:0 Write 2\nTotal 3\n",
		"blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 512\n8:0 Write 1024\nTotal 1536\n",
		"rdma/rdma.max":                                   "mlx4_0 hca_handle=2 hca_object=max\n",
		"rdma/rdma.current":                               "mlx4_0 hca_handle=1 hca_object=20\n",
	})
	g := Group{Paths: map[string]string{}}
	for _, name := range []string{"cpu", "cpuset", "memory", "pids", "blkio", "rdma"} {
		g.Paths[name] = root + "/" + name
	}
	g.Paths["cpuacct"] = root + "/cpu"
	s, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	want := &Stats{
		CPU: CPUStats{
			Usage: CPUUsage{
				Total: 5000, User: 20e6, Kernel: 10e6, Percpu: []uint64{2000, 3000},
				PercpuUser: []uint64{1500, 2500}, PercpuKernel: []uint64{500, 500},
			},
			Throttling: Throttling{4, 3, 99}, Burst: Burst{2, 7},
		},
		CPUSet: CPUSetStats{CPUs: []uint16{0, 1, 3}, Mems: []uint16{0}, MemHardwall: 1, SchedRelaxDomainLevel: -1},
		Memory: MemoryStats{
			Cache: 10, Raw: map[string]uint64{"cache": 10, "rss": 20},
			Usage: MemoryEntry{Limit: 1000, Usage: 30, Max: 40, Failcnt: 2}, Kernel: MemoryEntry{Usage: 5},
		},
		Pids: PidsStats{3, 9},
		Blkio: BlkioStats{
			IoServiceBytesRecursive: []BlkioEntry{{8, 0, "Read", 512}, {8, 0, "Write", 1024}},
			IoServicedRecursive:     []BlkioEntry{{8, 0, "Read", 1}, {8, 0, "Write", 2}},
		},
		Hugetlb: map[string]HugetlbStats{},
		Rdma: RdmaStats{
			Limit: []RdmaEntry{{"mlx4_0", 2, 1<<32 - 1}}, Current: []RdmaEntry{{"mlx4_0", 1, 20}},
		},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("Stats = %+v\nwant %+v", s, want)
	}
}

func TestStatsOfV2(t *testing.T) {
	const psi = "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
	root := tree(t, map[string]string{
		"cpu.stat":            "usage_usec 10\nuser_usec 7\nsystem_usec 3\nnr_periods 4\nnr_throttled 3\nthrottled_usec 2\nnr_bursts 1\nburst_usec 5\n",
		"cpu.pressure":        psi,
		"memory.current":      "100\n",
		"memory.max":          "400\n",
		"memory.peak":         "150\n",
		"memory.stat":         "anon 60\nfile 40\nkernel 9\nsock 2\n",
		"memory.events":       "low 0\nhigh 0\nmax 6\noom 1\noom_kill 1\n",
		"memory.swap.current": "11\n",
		"memory.swap.max":     "200\n",
		"memory.swap.events":  "high 0\nmax 8\nfail 0\n",
		"pids.current":        "2\n",
		"pids.max":            "max\n",
		"io.stat":             "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=9\n8:16 \n",
	})
	s, err := Group{Paths: map[string]string{"": root}}.Stats()
	if err != nil {
		t.Fatal(err)
	}
	want := &Stats{
		CPU: CPUStats{
			Usage: CPUUsage{Total: 10000, User: 7000, Kernel: 3000}, Throttling: Throttling{4, 3, 2000}, Burst: Burst{1, 5000},
			PSI: &PSI{Some: PSIData{1.5, 0.25, 0, 77}},
		},
		Memory: MemoryStats{
			Cache: 40, Raw: map[string]uint64{"anon": 60, "file": 40, "kernel": 9, "sock": 2},
			Usage: MemoryEntry{Limit: 400, Usage: 100, Max: 150, Failcnt: 6}, Swap: MemoryEntry{Limit: 600, Usage: 111, Failcnt: 8},
			Kernel: MemoryEntry{Usage: 9}, KernelTCP: MemoryEntry{Usage: 2},
		},
		Pids: PidsStats{Current: 2},
		Blkio: BlkioStats{
			IoServiceBytesRecursive: []BlkioEntry{{8, 0, "Read", 1}, {8, 0, "Write", 2}, {8, 0, "Discard", 5}},
			IoServicedRecursive:     []BlkioEntry{{8, 0, "Read", 3}, {8, 0, "Write", 4}, {8, 0, "Discard", 6}},
		},
		Hugetlb: map[string]HugetlbStats{},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("Stats = %+v\nwant %+v", s, want)
	}
}

// Engines read these names.
func TestStatsAsJSON(t *testing.T) {
	b, err := json.Marshal(&Stats{
		CPU:    CPUStats{Usage: CPUUsage{Total: 1, Percpu: []uint64{1}, PercpuKernel: []uint64{1}, PercpuUser: []uint64{1}}, Throttling: Throttling{1, 1, 1}},
		Memory: MemoryStats{Cache: 1, Usage: MemoryEntry{Limit: 1, Usage: 1, Max: 1}, Raw: map[string]uint64{"a": 1}},
		Pids:   PidsStats{1, 1}, Blkio: BlkioStats{IoQueuedRecursive: []BlkioEntry{{1, 1, "Read", 1}}},
		Hugetlb: map[string]HugetlbStats{"2MB": {1, 1, 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"cpu":{"usage":{"total":1,"percpu":[1],"percpu_kernel":[1],"percpu_user":[1],"kernel":0,"user":0},` +
		`"throttling":{"periods":1,"throttledPeriods":1,"throttledTime":1}},` +
		`"cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,` +
		`"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},` +
		`"memory":{"cache":1,"usage":{"limit":1,"usage":1,"max":1,"failcnt":0},"raw":{"a":1}},"pids":{"current":1,"limit":1},` +
		`"blkio":{"ioQueueRecursive":[{"major":1,"minor":1,"op":"Read","value":1}]},` +
		`"hugetlb":{"2MB":{"usage":1,"max":1,"failcnt":1}},"intel_rdt":{},"network_interfaces":null}`
	if string(b) != want {
		t.Errorf("JSON:\n%s\nwant:\n%s", b, want)
	}
}

func TestStatsErrors(t *testing.T) {
	if _, err := (Group{}).Stats(); err == nil {
		t.Error("Stats without a group succeeded")
	}
	root := tree(t, map[string]string{"pids.current": "many\n"})
	if _, err := (Group{Paths: map[string]string{"pids": root}}).Stats(); err == nil || !strings.Contains(err.Error(), "pids.current") {
		t.Errorf("Stats of a broken file = %v", err)
	}
	// A group that is gone has used nothing.
	if s, err := (Group{Paths: map[string]string{"pids": root + "/gone", "": root + "/gone"}}).Stats(); err != nil || s.Pids.Current != 0 {
		t.Errorf("Stats of a removed group = %+v, %v", s, err)
	}
}

func FuzzParseControlFiles(f *testing.F) {
	for _, s := range []string{
		"8:0 Read 12\nTotal 12\n", "8:0 rbytes=1 wios=2\n", "some avg10=0.00 total=1\n", "mlx hca_handle=max\n",
		"cpu user system\n0 1 2\n", "0-3,7\n", "a 18446744073709551615\n", "1\n0\n22\n", "c 1:3 rwm\nb *:* m\n", "-1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		// None may panic or go on for ever; what they accept must be sane.
		_, _ = parseBlkio(s)
		_, _, _ = parseIOStat(s)
		_, _ = parsePSI(s)
		_, _ = parseRdma(s)
		_, _, _ = parseUsageAll(s)
		_ = parseKeyed(s)
		_ = systemdVersion(s)
		if list, err := parseList(s); err == nil {
			for i := 1; i < len(list); i++ {
				if list[i] <= list[i-1] {
					t.Errorf("parseList(%q) = %v", s, list)
				}
			}
		}
		if pids, err := parsePids(s); err == nil {
			for _, pid := range pids {
				if pid <= 0 {
					t.Errorf("parsePids(%q) = %v", s, pids)
				}
			}
		}
		if rules, ok := parseDevicesList(s); ok {
			for _, r := range rules {
				if back, ok := parseDevicesList(r.line()); r.kind != 'a' && (!ok || len(back) != 1) && r.access != 0 {
					t.Errorf("%q gives %+v, whose line is %q", s, r, r.line())
				}
			}
		}
	})
}

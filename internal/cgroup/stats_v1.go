package cgroup

import (
	"strconv"
	"strings"
)

// userHZ is the unit of cpuacct.stat: USER_HZ is 100 on all CPUs of ours.
const userHZ = 100

// v1 reads the v1 controllers of a group.
func (r *reader) v1(paths map[string]string, s *Stats) {
	each := map[string]func(dir string, s *Stats){
		"cpu": r.cpuV1, "cpuacct": r.cpuacct, "cpuset": r.cpuset, "memory": r.memoryV1,
		"pids": r.pids, "blkio": r.blkio, "hugetlb": r.hugetlbV1, "rdma": r.rdmaStats,
	}
	for name, read := range each {
		if dir, ok := paths[name]; ok {
			read(dir, s)
		}
	}
}

func (r *reader) cpuV1(dir string, s *Stats) {
	stat := r.keyed(dir, "cpu.stat")
	s.CPU.Throttling = Throttling{
		Periods:          stat["nr_periods"],
		ThrottledPeriods: stat["nr_throttled"],
		ThrottledTime:    stat["throttled_time"],
	}
	s.CPU.Burst = Burst{Periods: stat["nr_bursts"], Time: stat["burst_time"]}
}

func (r *reader) cpuacct(dir string, s *Stats) {
	u := &s.CPU.Usage
	u.Total = r.uint(dir, "cpuacct.usage")
	stat := r.keyed(dir, "cpuacct.stat")
	u.User = stat["user"] * (1e9 / userHZ)
	u.Kernel = stat["system"] * (1e9 / userHZ)
	for _, word := range strings.Fields(r.text(dir, "cpuacct.usage_percpu")) {
		n, err := parseUint("cpuacct.usage_percpu", word)
		r.fail(err)
		u.Percpu = append(u.Percpu, n)
	}
	var err error
	u.PercpuUser, u.PercpuKernel, err = parseUsageAll(r.text(dir, "cpuacct.usage_all"))
	r.fail(err)
}

// parseUsageAll reads cpuacct.usage_all (Linux 4.7): a heading "cpu user system"
// and a line of three numbers for each CPU.
func parseUsageAll(text string) (user, kernel []uint64, err error) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] == "cpu" {
			continue
		}
		u, err := parseUint("cpuacct.usage_all", words[1])
		if err != nil {
			return nil, nil, err
		}
		k, err := parseUint("cpuacct.usage_all", words[2])
		if err != nil {
			return nil, nil, err
		}
		user, kernel = append(user, u), append(kernel, k)
	}
	return user, kernel, nil
}

func (r *reader) cpuset(dir string, s *Stats) {
	var err error
	c := &s.CPUSet
	c.CPUs, err = parseList(r.text(dir, "cpuset.cpus"))
	r.fail(err)
	c.Mems, err = parseList(r.text(dir, "cpuset.mems"))
	r.fail(err)
	c.CPUExclusive = r.uint(dir, "cpuset.cpu_exclusive")
	c.MemHardwall = r.uint(dir, "cpuset.mem_hardwall")
	c.MemExclusive = r.uint(dir, "cpuset.mem_exclusive")
	c.MemoryMigrate = r.uint(dir, "cpuset.memory_migrate")
	c.MemorySpreadPage = r.uint(dir, "cpuset.memory_spread_page")
	c.MemorySpreadSlab = r.uint(dir, "cpuset.memory_spread_slab")
	c.MemoryPressure = r.uint(dir, "cpuset.memory_pressure")
	c.SchedLoadBalance = r.uint(dir, "cpuset.sched_load_balance")
	if level := strings.TrimSpace(r.text(dir, "cpuset.sched_relax_domain_level")); level != "" {
		c.SchedRelaxDomainLevel, err = strconv.ParseInt(level, 10, 64)
		r.fail(err)
	}
}

func (r *reader) memoryV1(dir string, s *Stats) {
	m := &s.Memory
	m.Raw = r.keyed(dir, "memory.stat")
	m.Cache = m.Raw["cache"]
	entry := func(prefix string) MemoryEntry {
		return MemoryEntry{
			Limit:   r.uint(dir, prefix+"limit_in_bytes"),
			Usage:   r.uint(dir, prefix+"usage_in_bytes"),
			Max:     r.uint(dir, prefix+"max_usage_in_bytes"),
			Failcnt: r.uint(dir, prefix+"failcnt"),
		}
	}
	m.Usage = entry("memory.")
	m.Swap = entry("memory.memsw.")
	m.Kernel = entry("memory.kmem.")
	m.KernelTCP = entry("memory.kmem.tcp.")
}

// pids is the same on v1 and v2.
func (r *reader) pids(dir string, s *Stats) {
	s.Pids.Current = r.uint(dir, "pids.current")
	if limit := r.uint(dir, "pids.max"); limit != maxUint {
		s.Pids.Limit = limit
	}
}

// blkio reads the recursive counts of whichever I/O scheduler keeps some: BFQ,
// CFQ (before Linux 5.0), or the throttling layer.
func (r *reader) blkio(dir string, s *Stats) {
	b := &s.Blkio
	for _, prefix := range []string{"blkio.bfq.", "blkio.", "blkio.throttle."} {
		if !exists(dir + "/" + prefix + "io_serviced_recursive") {
			continue
		}
		for file, list := range map[string]*[]BlkioEntry{
			"io_service_bytes_recursive": &b.IoServiceBytesRecursive,
			"io_serviced_recursive":      &b.IoServicedRecursive,
			"io_queued_recursive":        &b.IoQueuedRecursive,
			"io_service_time_recursive":  &b.IoServiceTimeRecursive,
			"io_wait_time_recursive":     &b.IoWaitTimeRecursive,
			"io_merged_recursive":        &b.IoMergedRecursive,
			"time_recursive":             &b.IoTimeRecursive,
			"sectors_recursive":          &b.SectorsRecursive,
		} {
			*list = r.blkioFile(dir, prefix+file)
		}
		if len(b.IoServicedRecursive) > 0 {
			return // this scheduler has seen the group's requests
		}
	}
	if b.IoServicedRecursive == nil { // before Linux 4.12
		b.IoServiceBytesRecursive = r.blkioFile(dir, "blkio.throttle.io_service_bytes")
		b.IoServicedRecursive = r.blkioFile(dir, "blkio.throttle.io_serviced")
	}
}

func (r *reader) blkioFile(dir, file string) []BlkioEntry {
	list, err := parseBlkio(r.text(dir, file))
	r.fail(err)
	return list
}

// parseBlkio reads lines such as "8:0 Read 1024" and "8:0 12"; the total at the
// end, "Total 1024", is left out.
func parseBlkio(text string) ([]BlkioEntry, error) {
	var list []BlkioEntry
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] == "Total" {
			continue
		}
		e, err := parseDevice(words[0])
		if err != nil {
			return nil, err
		}
		if len(words) > 2 {
			e.Op = words[1]
		}
		if e.Value, err = parseUint("blkio", words[len(words)-1]); err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// parseDevice reads "8:0".
func parseDevice(s string) (BlkioEntry, error) {
	major, minor, _ := strings.Cut(s, ":")
	a, err := parseUint("device number", major)
	if err != nil {
		return BlkioEntry{}, err
	}
	b, err := parseUint("device number", minor)
	return BlkioEntry{Major: a, Minor: b}, err
}

// hugetlbV1 reads reservations, or pages in use on a kernel that does not count
// those (before Linux 5.7).
func (r *reader) hugetlbV1(dir string, s *Stats) {
	for _, size := range r.pages {
		prefix := "hugetlb." + size + ".rsvd."
		if !exists(dir + "/" + prefix + "usage_in_bytes") {
			prefix = "hugetlb." + size + "."
		}
		s.Hugetlb[size] = HugetlbStats{
			Usage:   r.uint(dir, prefix+"usage_in_bytes"),
			Max:     r.uint(dir, prefix+"max_usage_in_bytes"),
			Failcnt: r.uint(dir, prefix+"failcnt"),
		}
	}
}

// rdmaStats is the same on v1 and v2.
func (r *reader) rdmaStats(dir string, s *Stats) {
	s.Rdma.Limit = r.rdma(dir, "rdma.max")
	s.Rdma.Current = r.rdma(dir, "rdma.current")
}

package cgroup

import (
	"fmt"
	"strconv"
	"strings"
)

// v2 reads the controllers of a v2 group. Those that a v1 hierarchy has are not
// in it: their files are missing.
func (r *reader) v2(dir string, s *Stats) {
	if exists(dir + "/cpu.stat") {
		r.cpuV2(dir, s)
	}
	if exists(dir + "/memory.current") {
		r.memoryV2(dir, s)
	}
	switch {
	case exists(dir + "/pids.current"):
		r.pids(dir, s)
	case s.Pids.Current == 0:
		// Without the controller processes can still be counted.
		list, err := processes(dir)
		r.fail(err)
		s.Pids.Current = uint64(len(list))
	}
	r.io(dir, s)
	r.hugetlbV2(dir, s)
	if exists(dir + "/rdma.max") {
		r.rdmaStats(dir, s)
	}
}

// cpuV2 reads cpu.stat, which every v2 group has; times in it are microseconds.
func (r *reader) cpuV2(dir string, s *Stats) {
	stat := r.keyed(dir, "cpu.stat")
	if s.CPU.Usage.Total == 0 { // else cpuacct has told more
		s.CPU.Usage.Total = stat["usage_usec"] * 1000
		s.CPU.Usage.User = stat["user_usec"] * 1000
		s.CPU.Usage.Kernel = stat["system_usec"] * 1000
	}
	if _, ok := stat["nr_periods"]; ok {
		s.CPU.Throttling = Throttling{
			Periods:          stat["nr_periods"],
			ThrottledPeriods: stat["nr_throttled"],
			ThrottledTime:    stat["throttled_usec"] * 1000,
		}
		s.CPU.Burst = Burst{Periods: stat["nr_bursts"], Time: stat["burst_usec"] * 1000}
	}
	s.CPU.PSI = r.psi(dir, "cpu.pressure")
}

func (r *reader) memoryV2(dir string, s *Stats) {
	m := &s.Memory
	m.Raw = r.keyed(dir, "memory.stat")
	m.Cache = m.Raw["file"]
	m.Usage = MemoryEntry{
		Limit:   r.uint(dir, "memory.max"),
		Usage:   r.uint(dir, "memory.current"),
		Max:     r.uint(dir, "memory.peak"), // Linux 5.19
		Failcnt: r.keyed(dir, "memory.events")["max"],
	}
	m.Swap = m.Usage
	m.Swap.Max = 0 // the peaks of memory and of swap do not add up to one
	m.Swap.Failcnt = r.keyed(dir, "memory.swap.events")["max"]
	m.Swap.Usage += r.uint(dir, "memory.swap.current")
	switch limit, err := readUint(dir, "memory.swap.max"); {
	case err == nil && (limit == maxUint || m.Usage.Limit == maxUint):
		m.Swap.Limit = maxUint
	case err == nil:
		m.Swap.Limit += limit
	default:
		r.fail(err)
	}
	m.Kernel.Usage = m.Raw["kernel"] // Linux 5.18
	m.KernelTCP.Usage = m.Raw["sock"]
	m.PSI = r.psi(dir, "memory.pressure")
}

// io reads io.stat: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6".
func (r *reader) io(dir string, s *Stats) {
	bytes, count, err := parseIOStat(r.text(dir, "io.stat"))
	r.fail(err)
	s.Blkio.IoServiceBytesRecursive = append(s.Blkio.IoServiceBytesRecursive, bytes...)
	s.Blkio.IoServicedRecursive = append(s.Blkio.IoServicedRecursive, count...)
	s.Blkio.PSI = r.psi(dir, "io.pressure")
}

func parseIOStat(text string) (bytes, count []BlkioEntry, err error) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue // a device without counts
		}
		device, err := parseDevice(words[0])
		if err != nil {
			return nil, nil, err
		}
		for _, word := range words[1:] {
			key, number, _ := strings.Cut(word, "=")
			e := device
			ops := map[byte]string{'r': "Read", 'w': "Write", 'd': "Discard"}
			var to *[]BlkioEntry
			switch key {
			case "rbytes", "wbytes", "dbytes":
				to = &bytes
			case "rios", "wios", "dios":
				to = &count
			default:
				continue // of io.cost and io.latency
			}
			e.Op = ops[key[0]]
			if e.Value, err = parseUint("io.stat", number); err != nil {
				return nil, nil, err
			}
			*to = append(*to, e)
		}
	}
	return bytes, count, nil
}

func (r *reader) hugetlbV2(dir string, s *Stats) {
	for _, size := range r.pages {
		prefix := "hugetlb." + size
		if !exists(dir + "/" + prefix + ".current") {
			continue
		}
		h := HugetlbStats{
			Usage:   r.uint(dir, prefix+".current"),
			Failcnt: r.keyed(dir, prefix+".events")["max"],
		}
		if file := prefix + ".rsvd.current"; exists(dir + "/" + file) { // Linux 5.7
			h.Usage = r.uint(dir, file)
		}
		s.Hugetlb[size] = h
	}
}

// psi reads pressure stall information; nil where the kernel does not keep it.
func (r *reader) psi(dir, file string) *PSI {
	text := r.text(dir, file)
	if text == "" {
		return nil
	}
	p, err := parsePSI(text)
	r.fail(err)
	return p
}

// parsePSI reads lines such as "some avg10=0.00 avg60=0.00 avg300=0.00 total=0".
func parsePSI(text string) (*PSI, error) {
	var p PSI
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		var d PSIData
		for _, word := range words[1:] {
			key, number, _ := strings.Cut(word, "=")
			var err error
			switch key {
			case "avg10":
				d.Avg10, err = strconv.ParseFloat(number, 64)
			case "avg60":
				d.Avg60, err = strconv.ParseFloat(number, 64)
			case "avg300":
				d.Avg300, err = strconv.ParseFloat(number, 64)
			case "total":
				d.Total, err = strconv.ParseUint(number, 10, 64)
			}
			if err != nil {
				return nil, fmt.Errorf("pressure line %q: %w", line, errNoValue)
			}
		}
		switch words[0] {
		case "some":
			p.Some = d
		case "full":
			p.Full = d
		}
	}
	return &p, nil
}

package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Stats is what a group has used. As JSON it has the shape of "data" in the
// output of runc's "events --stats", which engines read.
type Stats struct {
	CPU               CPUStats                `json:"cpu"`
	CPUSet            CPUSetStats             `json:"cpuset"`
	Memory            MemoryStats             `json:"memory"`
	Pids              PidsStats               `json:"pids"`
	Blkio             BlkioStats              `json:"blkio"`
	Hugetlb           map[string]HugetlbStats `json:"hugetlb"`
	Rdma              RdmaStats               `json:"rdma,omitzero"`
	IntelRdt          struct{}                `json:"intel_rdt"`
	NetworkInterfaces []NetworkInterface      `json:"network_interfaces"`
}

// CPUStats is of the controllers cpu and cpuacct. Times are in nanoseconds.
type CPUStats struct {
	Usage      CPUUsage   `json:"usage,omitzero"`
	Throttling Throttling `json:"throttling,omitzero"`
	Burst      Burst      `json:"burst,omitzero"`
	PSI        *PSI       `json:"psi,omitempty"`
}

// CPUUsage is processor time in nanoseconds.
type CPUUsage struct {
	Total        uint64   `json:"total,omitempty"`
	Percpu       []uint64 `json:"percpu,omitempty"`
	PercpuKernel []uint64 `json:"percpu_kernel,omitempty"`
	PercpuUser   []uint64 `json:"percpu_user,omitempty"`
	Kernel       uint64   `json:"kernel"`
	User         uint64   `json:"user"`
}

// Throttling is what a CPU quota did.
type Throttling struct {
	Periods          uint64 `json:"periods,omitempty"`
	ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
	ThrottledTime    uint64 `json:"throttledTime,omitempty"`
}

// Burst is the time used above the quota.
type Burst struct {
	Periods uint64 `json:"burstsPeriods,omitempty"`
	Time    uint64 `json:"burstTime,omitempty"`
}

// CPUSetStats is of the v1 controller cpuset.
type CPUSetStats struct {
	CPUs                  []uint16 `json:"cpus,omitempty"`
	CPUExclusive          uint64   `json:"cpu_exclusive"`
	Mems                  []uint16 `json:"mems,omitempty"`
	MemHardwall           uint64   `json:"mem_hardwall"`
	MemExclusive          uint64   `json:"mem_exclusive"`
	MemoryMigrate         uint64   `json:"memory_migrate"`
	MemorySpreadPage      uint64   `json:"memory_spread_page"`
	MemorySpreadSlab      uint64   `json:"memory_spread_slab"`
	MemoryPressure        uint64   `json:"memory_pressure"`
	SchedLoadBalance      uint64   `json:"sched_load_balance"`
	SchedRelaxDomainLevel int64    `json:"sched_relax_domain_level"`
}

// MemoryStats is of the controller memory, in bytes. Swap counts memory and swap
// together, as v1 does, on v2 too.
type MemoryStats struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     MemoryEntry       `json:"usage,omitzero"`
	Swap      MemoryEntry       `json:"swap,omitzero"`
	Kernel    MemoryEntry       `json:"kernel,omitzero"`
	KernelTCP MemoryEntry       `json:"kernelTCP,omitzero"`
	Raw       map[string]uint64 `json:"raw,omitempty"`
	PSI       *PSI              `json:"psi,omitempty"`
}

// MemoryEntry is usage in bytes against a limit.
type MemoryEntry struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// PidsStats is the number of processes and threads; limit 0 is none.
type PidsStats struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

// BlkioStats is of the controllers blkio and io.
type BlkioStats struct {
	IoServiceBytesRecursive []BlkioEntry `json:"ioServiceBytesRecursive,omitempty"`
	IoServicedRecursive     []BlkioEntry `json:"ioServicedRecursive,omitempty"`
	IoQueuedRecursive       []BlkioEntry `json:"ioQueueRecursive,omitempty"`
	IoServiceTimeRecursive  []BlkioEntry `json:"ioServiceTimeRecursive,omitempty"`
	IoWaitTimeRecursive     []BlkioEntry `json:"ioWaitTimeRecursive,omitempty"`
	IoMergedRecursive       []BlkioEntry `json:"ioMergedRecursive,omitempty"`
	IoTimeRecursive         []BlkioEntry `json:"ioTimeRecursive,omitempty"`
	SectorsRecursive        []BlkioEntry `json:"sectorsRecursive,omitempty"`
	PSI                     *PSI         `json:"psi,omitempty"`
}

// BlkioEntry is one count of one block device.
type BlkioEntry struct {
	Major uint64 `json:"major,omitempty"`
	Minor uint64 `json:"minor,omitempty"`
	Op    string `json:"op,omitempty"`
	Value uint64 `json:"value,omitempty"`
}

// HugetlbStats is of one huge page size, in bytes.
type HugetlbStats struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// RdmaStats is of the controller rdma.
type RdmaStats struct {
	Limit   []RdmaEntry `json:"limit,omitempty"`
	Current []RdmaEntry `json:"current,omitempty"`
}

// RdmaEntry is of one device. maxUint32 is no limit.
type RdmaEntry struct {
	Device     string `json:"device,omitempty"`
	HcaHandles uint32 `json:"hcaHandles,omitempty"`
	HcaObjects uint32 `json:"hcaObjects,omitempty"`
}

// PSI is pressure stall information (Linux 4.20, v2 only): how long some or all
// processes waited for a resource.
type PSI struct {
	Some PSIData `json:"some,omitzero"`
	Full PSIData `json:"full,omitzero"`
}

// PSIData has averages in percent over 10, 60 and 300 seconds and a total in
// microseconds.
type PSIData struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"`
}

// NetworkInterface counts what went over an interface. This package does not
// fill it in.
type NetworkInterface struct {
	Name      string
	RxBytes   uint64
	RxPackets uint64
	RxErrors  uint64
	RxDropped uint64
	TxBytes   uint64
	TxPackets uint64
	TxErrors  uint64
	TxDropped uint64
}

// Stats reads what the group has used. Controllers that the container does not
// use, and files that this kernel does not have, leave zeros.
func (g Group) Stats() (*Stats, error) {
	if len(g.Paths) == 0 {
		return nil, fmt.Errorf("statistics: %w", ErrNoGroup)
	}
	s := &Stats{Hugetlb: make(map[string]HugetlbStats)}
	r := &reader{pages: hugepageSizes("/")}
	r.v1(g.Paths, s)
	if dir := g.v2(); dir != "" {
		r.v2(dir, s)
	}
	if r.err != nil {
		return nil, fmt.Errorf("statistics: %w", r.err)
	}
	return s, nil
}

// reader reads files of a group and keeps the first error that is not about a
// file that is not there.
type reader struct {
	err   error
	pages []string
}

func (r *reader) fail(err error) {
	// EOPNOTSUPP: a file of a feature that is switched off, as PSI can be.
	if err != nil && r.err == nil && !gone(err) && !notSupported(err) {
		r.err = err
	}
}

func (r *reader) uint(dir, file string) uint64 {
	n, err := readUint(dir, file)
	r.fail(err)
	return n
}

func (r *reader) keyed(dir, file string) map[string]uint64 {
	m, err := readKeyed(dir, file)
	r.fail(err)
	return m
}

func (r *reader) text(dir, file string) string {
	b, err := readFile(dir + "/" + file)
	r.fail(err)
	return string(b)
}

// rdma reads a file of lines such as "mlx4_0 hca_handle=2 hca_object=max".
func (r *reader) rdma(dir, file string) []RdmaEntry {
	list, err := parseRdma(r.text(dir, file))
	r.fail(err)
	return list
}

func parseRdma(text string) ([]RdmaEntry, error) {
	var list []RdmaEntry
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		e := RdmaEntry{Device: words[0]}
		for _, word := range words[1:] {
			key, number, _ := strings.Cut(word, "=")
			n, err := strconv.ParseUint(number, 10, 32)
			if number == "max" {
				n, err = 1<<32-1, nil
			}
			if err != nil {
				return nil, fmt.Errorf("rdma line %q: %w", line, errNoValue)
			}
			switch key {
			case "hca_handle":
				e.HcaHandles = uint32(n)
			case "hca_object":
				e.HcaObjects = uint32(n)
			}
		}
		list = append(list, e)
	}
	return list, nil
}

// parseList reads a list of numbers such as "0-3,7".
func parseList(text string) ([]uint16, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	bits, err := bitmap(text)
	if err != nil {
		return nil, err
	}
	var list []uint16
	for i := range len(bits) * 8 {
		if bits[i/8]&(1<<(i%8)) != 0 {
			list = append(list, uint16(i))
		}
	}
	return list, nil
}

func notSupported(err error) bool {
	return errors.Is(err, errors.ErrUnsupported)
}

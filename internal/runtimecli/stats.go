package runtimecli

import "tare.dev/tare/internal/cgroup"

// statsJSON is the data of a stats event, in the names and units of runc
// (its package types): bytes, nanoseconds, counts.
type statsJSON struct {
	CPU     cpuJSON                `json:"cpu"`
	CPUSet  cpusetJSON             `json:"cpuset"`
	Memory  memoryJSON             `json:"memory"`
	Pids    pidsJSON               `json:"pids"`
	Blkio   blkioJSON              `json:"blkio"`
	Hugetlb map[string]hugetlbJSON `json:"hugetlb"`
	RDT     struct{}               `json:"intel_rdt"`
	Network []struct{}             `json:"network_interfaces"`
}

type cpuJSON struct {
	Usage      cpuUsageJSON   `json:"usage"`
	Throttling throttlingJSON `json:"throttling"`
	PSI        *psiJSON       `json:"psi,omitempty"`
}

type cpuUsageJSON struct {
	Total        uint64   `json:"total,omitempty"`
	Percpu       []uint64 `json:"percpu,omitempty"`
	PercpuKernel []uint64 `json:"percpu_kernel,omitempty"`
	PercpuUser   []uint64 `json:"percpu_user,omitempty"`
	Kernel       uint64   `json:"kernel"`
	User         uint64   `json:"user"`
}

type throttlingJSON struct {
	Periods          uint64 `json:"periods,omitempty"`
	ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
	ThrottledTime    uint64 `json:"throttledTime,omitempty"`
}

type cpusetJSON struct {
	CPUs []uint16 `json:"cpus,omitempty"`
	Mems []uint16 `json:"mems,omitempty"`
}

type memoryJSON struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     memoryUseJSON     `json:"usage"`
	Swap      memoryUseJSON     `json:"swap"`
	Kernel    memoryUseJSON     `json:"kernel"`
	KernelTCP memoryUseJSON     `json:"kernelTCP"`
	Raw       map[string]uint64 `json:"raw,omitempty"`
	PSI       *psiJSON          `json:"psi,omitempty"`
}

type memoryUseJSON struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

type pidsJSON struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

type blkioJSON struct {
	IoServiceBytes []blkioEntryJSON `json:"ioServiceBytesRecursive,omitempty"`
	IoServiced     []blkioEntryJSON `json:"ioServicedRecursive,omitempty"`
	PSI            *psiJSON         `json:"psi,omitempty"`
}

type blkioEntryJSON struct {
	Major uint64 `json:"major,omitempty"`
	Minor uint64 `json:"minor,omitempty"`
	Op    string `json:"op,omitempty"`
	Value uint64 `json:"value,omitempty"`
}

type hugetlbJSON struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

type psiJSON struct {
	Some psiDataJSON `json:"some"`
	Full psiDataJSON `json:"full"`
}

type psiDataJSON struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"`
}

func newStatsJSON(*cgroup.Stats) statsJSON { return statsJSON{} }

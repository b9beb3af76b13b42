package engine

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cgroup"
)

// Stats is what the container uses. One that does not run uses nothing.
func (c *Container) Stats() (*container.StatsResponse, error) {
	v := c.View()
	out := &container.StatsResponse{ID: c.id, Name: "/" + v.Name, OSType: "linux", Read: time.Now().UTC()}
	if !v.Running() {
		return out, nil
	}
	r, err := c.e.runtime.Load(c.id)
	if err != nil {
		return out, nil // it has just ended
	}
	s, err := r.Stats()
	if err != nil {
		return nil, err
	}
	out.CPUStats = container.CPUStats{
		CPUUsage: container.CPUUsage{
			TotalUsage: s.CPU.Usage.Total, PercpuUsage: s.CPU.Usage.Percpu,
			UsageInKernelmode: s.CPU.Usage.Kernel, UsageInUsermode: s.CPU.Usage.User,
		},
		SystemUsage: systemUsage(), OnlineCPUs: uint32(runtime.NumCPU()),
		ThrottlingData: container.ThrottlingData{
			Periods: s.CPU.Throttling.Periods, ThrottledPeriods: s.CPU.Throttling.ThrottledPeriods, ThrottledTime: s.CPU.Throttling.ThrottledTime,
		},
	}
	out.MemoryStats = container.MemoryStats{
		Usage: s.Memory.Usage.Usage, MaxUsage: s.Memory.Usage.Max, Failcnt: s.Memory.Usage.Failcnt, Limit: s.Memory.Usage.Limit,
		Stats: s.Memory.Raw,
	}
	if all := totalMemory(); out.MemoryStats.Limit == 0 || out.MemoryStats.Limit > all {
		out.MemoryStats.Limit = all
	}
	out.PidsStats = container.PidsStats{Current: s.Pids.Current, Limit: s.Pids.Limit}
	out.BlkioStats = container.BlkioStats{
		IoServiceBytesRecursive: entries(s.Blkio.IoServiceBytesRecursive),
		IoServicedRecursive:     entries(s.Blkio.IoServicedRecursive),
	}
	if !v.Host.NetworkMode.IsHost() {
		out.Networks = interfaces(v.Pid)
	}
	return out, nil
}

func entries(from []cgroup.BlkioEntry) []container.BlkioStatEntry {
	var out []container.BlkioStatEntry
	for _, e := range from {
		out = append(out, container.BlkioStatEntry{Major: e.Major, Minor: e.Minor, Op: e.Op, Value: e.Value})
	}
	return out
}

// systemUsage is the time that all CPUs have spent, in nanoseconds: the first line of proc_stat(5),
// without what the guests of a virtual machine have and what is counted twice.
func systemUsage() uint64 {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	f := strings.Fields(line)
	var ticks uint64
	for _, field := range f[1:min(len(f), 8)] {
		n, _ := strconv.ParseUint(field, 10, 64)
		ticks += n
	}
	const perSecond = 100 // USER_HZ, the same on all CPUs we run on
	return ticks * 1e9 / perSecond
}

func totalMemory() uint64 {
	var si unix.Sysinfo_t
	_ = unix.Sysinfo(&si) // it fails for a bad address alone
	return uint64(si.Totalram) * uint64(si.Unit)
}

// interfaces counts what went over the container's interfaces: proc_pid_net(5), dev.
func interfaces(pid int) map[string]container.NetworkStats {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return nil
	}
	out := map[string]container.NetworkStats{}
	for line := range strings.Lines(string(text)) {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if name = strings.TrimSpace(name); !ok || name == "lo" || len(f) < 12 {
			continue
		}
		n := func(i int) uint64 { v, _ := strconv.ParseUint(f[i], 10, 64); return v }
		out[name] = container.NetworkStats{
			RxBytes: n(0), RxPackets: n(1), RxErrors: n(2), RxDropped: n(3), TxBytes: n(8), TxPackets: n(9), TxErrors: n(10), TxDropped: n(11),
		}
	}
	return out
}

package cgroup

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The range of v1 cpu.shares, MIN_SHARES and MAX_SHARES in kernel/sched/sched.h.
// The kernel pulls other values into it without an error.
const (
	minShares = 2
	maxShares = 1 << 18
)

// cpuSettings converts linux.resources.cpu but for cpus and mems. Times are in
// microseconds; 0 is taken as not set, as runc takes it.
func cpuSettings(p place, c *specs.LinuxCPU) ([]setting, error) {
	if q, b := value(c.Quota), value(c.Burst); q > 0 && b > uint64(q) {
		return nil, fmt.Errorf("cpu.burst %d: larger than cpu.quota %d", b, q)
	}
	if p.v2 {
		return cpuV2(p, c)
	}
	return cpuV1(p, c)
}

func cpuV1(p place, c *specs.LinuxCPU) ([]setting, error) {
	var list []setting
	number := func(file string, v uint64) {
		list = append(list, setting{file: file, value: strconv.FormatUint(v, 10)})
	}
	// Realtime comes first: a realtime process may not even join a group that
	// has no realtime budget.
	if v := value(c.RealtimePeriod); v != 0 {
		number("cpu.rt_period_us", v)
	}
	if v := value(c.RealtimeRuntime); v != 0 {
		list = append(list, setting{file: "cpu.rt_runtime_us", value: strconv.FormatInt(v, 10)})
	}
	if v := value(c.Shares); v != 0 {
		if v < minShares {
			return nil, fmt.Errorf("cpu.shares %d: the minimum allowed cpu-shares is %d", v, minShares)
		}
		if v > maxShares {
			return nil, fmt.Errorf("cpu.shares %d: the maximum allowed cpu-shares is %d", v, maxShares)
		}
		number("cpu.shares", v)
	}
	if v := value(c.Period); v != 0 {
		number("cpu.cfs_period_us", v)
	}
	if v := value(c.Quota); v != 0 {
		list = append(list, setting{file: "cpu.cfs_quota_us", value: strconv.FormatInt(v, 10)})
	}
	if c.Burst != nil {
		// Optional when 0: a kernel before 5.14 has no burst.
		list = append(list, setting{
			file: "cpu.cfs_burst_us", value: strconv.FormatUint(*c.Burst, 10), optional: *c.Burst == 0,
		})
	}
	if c.Idle != nil {
		// Optional when 0: a kernel before 5.15 has no idle groups.
		list = append(list, setting{file: "cpu.idle", value: strconv.FormatInt(*c.Idle, 10), optional: *c.Idle == 0})
	}
	return list, nil
}

func cpuV2(p place, c *specs.LinuxCPU) ([]setting, error) {
	if value(c.RealtimePeriod) != 0 || value(c.RealtimeRuntime) != 0 {
		return nil, fmt.Errorf("cpu.realtimeRuntime and cpu.realtimePeriod: cgroup v2 has no such settings")
	}
	var list []setting
	if c.Idle != nil {
		// Optional when 0: a kernel before 5.15 has no idle groups.
		list = append(list, setting{file: "cpu.idle", value: strconv.FormatInt(*c.Idle, 10), optional: *c.Idle == 0})
	}
	// An idle group has no weight: the kernel refuses to set one.
	if v := value(c.Shares); v != 0 && value(c.Idle) != 1 {
		list = append(list, setting{file: "cpu.weight", value: strconv.FormatUint(weightFromShares(v), 10)})
	}
	if q, period := value(c.Quota), value(c.Period); q != 0 || period != 0 {
		list = append(list, setting{file: "cpu.max", value: cpuMax(q, period, p.now("cpu.max"))})
	}
	if c.Burst != nil {
		// Optional when 0: a kernel before 5.14 has no burst.
		list = append(list, setting{
			file: "cpu.max.burst", value: strconv.FormatUint(*c.Burst, 10), optional: *c.Burst == 0,
		})
	}
	return list, nil
}

// cpuMax writes quota and period as cpu.max takes them. now is what the file
// holds, "" before the group is made: what is not asked for stays.
func cpuMax(quota int64, period uint64, now string) string {
	oldQuota, oldPeriod, ok := strings.Cut(now, " ")
	if !ok {
		oldQuota, oldPeriod = "max", "100000" // the kernel's defaults: cgroup-v2.rst
	}
	switch {
	case quota < 0:
		oldQuota = "max"
	case quota > 0:
		oldQuota = strconv.FormatInt(quota, 10)
	}
	if period != 0 {
		oldPeriod = strconv.FormatUint(period, 10)
	}
	return oldQuota + " " + oldPeriod
}

// weightFromShares maps v1 cpu.shares (2-262144, default 1024) to v2 cpu.weight
// (1-10000, default 100). It is the formula that runc and crun agreed on in
// 2025: a quadratic in the logarithm through both ends and the default, since
// the older linear one made the default 39.
func weightFromShares(shares uint64) uint64 {
	if shares <= minShares {
		return 1
	}
	if shares >= maxShares {
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

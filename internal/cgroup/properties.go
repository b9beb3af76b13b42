package cgroup

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// limit adds the properties that say to systemd what the control files say, so
// that it does not write other values when it is reloaded.
func (u *Unit) limit(r *specs.LinuxResources, v2 bool, rules []deviceRule) error {
	list, err := resourceProperties(r, v2)
	if err != nil {
		return err
	}
	u.properties = append(u.properties, list...)
	if !v2 {
		// On v1 a reload writes the device list anew. On v2 systemd only looks
		// after programs of its own.
		u.properties = append(u.properties, deviceProperties(rules)...)
	}
	return nil
}

// The versions of systemd that brought properties: its NEWS file.
const (
	sinceCPUQuotaPeriod = 242
	sinceAllowedCPUs    = 244
	sinceIdle           = 252
)

// resourceProperties converts resources to properties: systemd.resource-control(5)
// and org.freedesktop.systemd1(5). What has no property is only in the files.
func resourceProperties(r *specs.LinuxResources, v2 bool) ([]property, error) {
	var list []property
	add := func(since int, name string, v any) {
		list = append(list, property{name: name, value: v, since: since})
	}
	if p := r.Pids; p != nil && p.Limit != nil {
		add(0, "TasksMax", tasksMax(*p.Limit))
	}
	if m := r.Memory; m != nil {
		list = append(list, memoryProperties(m, v2)...)
	}
	if c := r.CPU; c != nil {
		more, err := cpuProperties(c, v2)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	if b := r.BlockIO; b != nil && value(b.Weight) != 0 {
		if v2 {
			add(0, "IOWeight", ioWeight(*b.Weight))
		} else {
			add(0, "BlockIOWeight", uint64(*b.Weight))
		}
	}
	more, err := unifiedProperties(r.Unified)
	return append(list, more...), err
}

// infinity is how systemd writes "no limit".
const infinity = uint64(math.MaxUint64)

// bytesOrInfinity converts a number of bytes, -1 for unlimited.
func bytesOrInfinity(v int64) uint64 {
	if v < 0 {
		return infinity
	}
	return uint64(v)
}

// tasksMax converts a limit on processes. systemd does not take 0; the file gets
// it afterwards.
func tasksMax(limit int64) uint64 {
	if limit == 0 {
		return 1
	}
	return bytesOrInfinity(limit)
}

func memoryProperties(m *specs.LinuxMemory, v2 bool) []property {
	var list []property
	if v := value(m.Limit); v != 0 {
		name := "MemoryMax"
		if !v2 {
			name = "MemoryLimit"
		}
		list = append(list, property{name: name, value: bytesOrInfinity(v)})
	}
	if !v2 {
		return list
	}
	if v := value(m.Reservation); v != 0 {
		list = append(list, property{name: "MemoryLow", value: bytesOrInfinity(v)})
	}
	if swap, ok, err := swapV2(place{v2: true}, m); ok && err == nil {
		list = append(list, property{name: "MemorySwapMax", value: maxOrNumber(swap)})
	}
	return list
}

// maxOrNumber converts what is written to a v2 limit file.
func maxOrNumber(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return infinity
	}
	return n
}

func cpuProperties(c *specs.LinuxCPU, v2 bool) ([]property, error) {
	var list []property
	switch v := value(c.Shares); {
	case v2 && value(c.Idle) == 1:
		list = append(list, property{"CPUWeight", uint64(0), sinceIdle}) // 0 is how systemd writes idle
	case v2 && v != 0:
		list = append(list, property{name: "CPUWeight", value: weightFromShares(v)})
	case v != 0:
		list = append(list, property{name: "CPUShares", value: v})
	}
	if q, p := value(c.Quota), value(c.Period); q != 0 || p != 0 {
		list = append(list, quotaProperties(q, p)...)
	}
	for _, set := range []struct{ name, list string }{{"AllowedCPUs", c.Cpus}, {"AllowedMemoryNodes", c.Mems}} {
		if set.list == "" {
			continue
		}
		bits, err := bitmap(set.list)
		if err != nil {
			return nil, fmt.Errorf("cpu: %s: %w", set.name, err)
		}
		list = append(list, property{set.name, bits, sinceAllowedCPUs})
	}
	return list, nil
}

// quotaProperties converts a quota and a period in microseconds.
func quotaProperties(quota int64, period uint64) []property {
	var list []property
	if period != 0 {
		list = append(list, property{"CPUQuotaPeriodUSec", period, sinceCPUQuotaPeriod})
	}
	perSecond := infinity
	if quota > 0 {
		if period == 0 {
			period = 100000
		}
		// systemd keeps whole percents; rounded up, so that a group below may
		// still have all that was asked for. The file gets the exact quota.
		percent := (uint64(quota)*100 + period - 1) / period
		perSecond = percent * 10000
	}
	return append(list, property{name: "CPUQuotaPerSecUSec", value: perSecond})
}

// unifiedProperties converts those files of the unified map that have a
// property. Whether the text is right is for the kernel to say.
func unifiedProperties(unified map[string]string) ([]property, error) {
	var list []property
	for _, file := range slices.Sorted(maps.Keys(unified)) {
		text := strings.TrimSpace(unified[file])
		switch file {
		case "cpu.max":
			quota, period, _ := strings.Cut(text, " ")
			q, _ := strconv.ParseInt(quota, 10, 64)   // "max": 0, no limit
			p, _ := strconv.ParseUint(period, 10, 64) // absent: 0, the default
			list = append(list, quotaProperties(q, p)...)
		case "cpuset.cpus", "cpuset.mems":
			bits, err := bitmap(text)
			if err != nil {
				return nil, fmt.Errorf("unified %q: %w", file, err)
			}
			list = append(list, property{unifiedNames(file), bits, sinceAllowedCPUs})
		case "pids.max":
			list = append(list, property{name: "TasksMax", value: max(maxOrNumber(text), 1)})
		default:
			if name := unifiedNames(file); name != "" {
				list = append(list, property{name: name, value: maxOrNumber(text)})
			}
		}
	}
	return list, nil
}

// unifiedNames is the property for a v2 file, "" if there is none.
func unifiedNames(file string) string {
	return map[string]string{
		"cpu.weight": "CPUWeight", "cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes",
		"memory.high": "MemoryHigh", "memory.low": "MemoryLow", "memory.min": "MemoryMin",
		"memory.max": "MemoryMax", "memory.swap.max": "MemorySwapMax",
	}[file]
}

// deviceProperties tells systemd the rules of a list that begins with denying
// everything; other lists have no form there.
func deviceProperties(rules []deviceRule) []property {
	if len(rules) == 0 || rules[0].allow || !rules[0].everything() {
		return nil
	}
	var allowed []deviceEntry
	for _, r := range rules[1:] {
		if !r.allow || r.kind == 'a' {
			return nil
		}
		kind := map[byte]string{'b': "block", 'c': "char"}[r.kind]
		switch {
		case r.major == anyNumber:
			allowed = append(allowed, deviceEntry{kind + "-*", r.access.String()})
		case r.minor == anyNumber:
			return nil // needs the name of the driver; the file has the rule
		default:
			allowed = append(allowed, deviceEntry{fmt.Sprintf("/dev/%s/%d:%d", kind, r.major, r.minor), r.access.String()})
		}
	}
	return []property{{name: "DevicePolicy", value: "strict"}, {name: "DeviceAllow", value: allowed}}
}

// deviceEntry is one entry of DeviceAllow, (ss) on the bus.
type deviceEntry struct{ Path, Access string }

// bitmap converts a list such as "0-3,7" to bytes of bits, the lowest first.
func bitmap(list string) ([]byte, error) {
	var bits []byte
	for part := range strings.SplitSeq(list, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.ParseUint(from, 10, 16)
		last, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil || first > last {
			return nil, fmt.Errorf("%q is not a list of numbers", list)
		}
		for n := first; n <= last; n++ {
			for len(bits) <= int(n/8) {
				bits = append(bits, 0)
			}
			bits[n/8] |= 1 << (n % 8)
		}
	}
	if len(bits) == 0 {
		return nil, fmt.Errorf("%q is an empty list", list)
	}
	return bits, nil
}

package cgroup

import (
	"fmt"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The v1 files of the memory controller: Documentation/admin-guide/cgroup-v1/memory.rst.
const (
	v1MemoryLimit = "memory.limit_in_bytes"
	v1MemswLimit  = "memory.memsw.limit_in_bytes"
)

// memorySettings converts linux.resources.memory. Bytes; -1 is unlimited. A
// limit of 0 is taken as not set, as runc takes it: engines send 0 for that.
func memorySettings(p place, m *specs.LinuxMemory) ([]setting, error) {
	if m.Swappiness != nil && *m.Swappiness > 100 {
		return nil, fmt.Errorf("memory.swappiness %d: not in 0-100", *m.Swappiness)
	}
	for name, v := range map[string]*int64{"limit": m.Limit, "reservation": m.Reservation, "swap": m.Swap} {
		if value(v) < -1 {
			return nil, fmt.Errorf("memory.%s %d: neither -1 nor a number of bytes", name, *v)
		}
	}
	if p.v2 {
		return memoryV2(p, m)
	}
	return memoryV1(p, m)
}

func memoryV1(p place, m *specs.LinuxMemory) ([]setting, error) {
	var list []setting
	if m.UseHierarchy != nil {
		// Not needed, or refused, from Linux 5.11 on, where it is always 1.
		list = append(list, setting{file: "memory.use_hierarchy", value: flag(*m.UseHierarchy)})
	}
	limit, swap := value(m.Limit), value(m.Swap)
	if limit == -1 && swap == 0 && p.has(v1MemswLimit) {
		swap = -1 // memory+swap below memory makes no sense: unlimited memory means both
	}
	if limit != 0 {
		list = append(list, setting{file: v1MemoryLimit, value: strconv.FormatInt(limit, 10)})
	}
	switch {
	case swap == 0, swap == -1 && !p.has(v1MemswLimit):
		// Nothing asked, or no limit asked where none can be had.
	case !p.has(v1MemswLimit) && !p.missing:
		return nil, fmt.Errorf("memory.swap: this kernel does not account swap (boot it with swapaccount=1)")
	default:
		if limit > 0 && swap > 0 && swap < limit {
			return nil, fmt.Errorf("memory.swap %d: memory and swap together are less than memory.limit %d", swap, limit)
		}
		list = append(list, setting{file: v1MemswLimit, value: strconv.FormatInt(swap, 10)})
	}
	if v := value(m.Reservation); v != 0 {
		list = append(list, setting{file: "memory.soft_limit_in_bytes", value: strconv.FormatInt(v, 10)})
	}
	if v := kernelMemory(m); v != 0 {
		// Optional: deprecated since 5.4, without effect or gone since 5.16; the
		// specification lets runtimes ignore it.
		list = append(list, setting{file: "memory.kmem.limit_in_bytes", value: strconv.FormatInt(v, 10), optional: true})
	}
	if v := value(m.KernelTCP); v != 0 {
		list = append(list, setting{file: "memory.kmem.tcp.limit_in_bytes", value: strconv.FormatInt(v, 10)})
	}
	if m.Swappiness != nil {
		list = append(list, setting{file: "memory.swappiness", value: strconv.FormatUint(*m.Swappiness, 10)})
	}
	if m.DisableOOMKiller != nil && (*m.DisableOOMKiller || p.dir != "") {
		list = append(list, setting{file: "memory.oom_control", value: flag(*m.DisableOOMKiller)})
	}
	return list, nil
}

func memoryV2(p place, m *specs.LinuxMemory) ([]setting, error) {
	switch {
	case value(m.KernelTCP) > 0:
		return nil, fmt.Errorf("memory.kernelTCP: cgroup v2 has no such limit")
	case m.Swappiness != nil:
		return nil, fmt.Errorf("memory.swappiness: cgroup v2 has no such setting")
	case m.DisableOOMKiller != nil && *m.DisableOOMKiller:
		return nil, fmt.Errorf("memory.disableOOMKiller: cgroup v2 has no such setting")
	case m.UseHierarchy != nil && !*m.UseHierarchy:
		return nil, fmt.Errorf("memory.useHierarchy: cgroup v2 is always hierarchical")
	}
	var list []setting
	swap, ok, err := swapV2(p, m)
	if err != nil {
		return nil, err
	}
	if ok {
		// Optional where it asks for what a kernel without swap does anyway: such
		// a kernel has no memory.swap.max.
		list = append(list, setting{file: "memory.swap.max", value: swap, optional: swap == "max" || swap == "0"})
	}
	if v := value(m.Limit); v != 0 {
		list = append(list, setting{file: "memory.max", value: orMax(v)})
	}
	if v := value(m.Reservation); v != 0 {
		list = append(list, setting{file: "memory.low", value: orMax(v)})
	}
	return list, nil
}

// swapV2 converts memory.swap, which counts memory and swap together, to
// memory.swap.max, which counts swap only. ok is false when nothing is asked.
func swapV2(p place, m *specs.LinuxMemory) (v string, ok bool, err error) {
	limit, swap := value(m.Limit), value(m.Swap)
	switch {
	case swap == 0 && limit == -1, swap == -1:
		return "max", true, nil
	case swap == 0:
		return "", false, nil
	case limit == -1:
		return strconv.FormatInt(swap, 10), true, nil // as runc: nothing to subtract from
	case limit == 0:
		// Only swap is given: an update, which keeps the memory limit.
		n, err := parseUint("memory.max", p.now("memory.max"))
		if err != nil || n == maxUint {
			return "", false, fmt.Errorf("memory.swap %d: needs memory.limit, which is not set", swap)
		}
		limit = int64(n)
	}
	if swap < limit {
		return "", false, fmt.Errorf("memory.swap %d: memory and swap together are less than memory.limit %d", swap, limit)
	}
	return strconv.FormatInt(swap-limit, 10), true, nil
}

// kernelMemory reads the deprecated field in one place.
func kernelMemory(m *specs.LinuxMemory) int64 {
	//lint:ignore SA1019 old engines still send it
	return value(m.Kernel)
}

// value is what v points at, or 0.
func value[T any](v *T) T {
	if v == nil {
		var zero T
		return zero
	}
	return *v
}

// orMax writes a v2 limit: -1, unlimited, is "max".
func orMax(v int64) string {
	if v == -1 {
		return "max"
	}
	return strconv.FormatInt(v, 10)
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

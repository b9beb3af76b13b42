package program

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// Scheduling policies and flags of sched_setattr(2).
var (
	schedPolicies = [...]struct {
		name specs.LinuxSchedulerPolicy
		n    uint32
	}{
		{specs.SchedOther, unix.SCHED_NORMAL},
		{specs.SchedFIFO, unix.SCHED_FIFO},
		{specs.SchedRR, unix.SCHED_RR},
		{specs.SchedBatch, unix.SCHED_BATCH},
		{specs.SchedISO, 4},
		{specs.SchedIdle, unix.SCHED_IDLE},
		{specs.SchedDeadline, unix.SCHED_DEADLINE},
	}
	schedFlags = [...]struct {
		name specs.LinuxSchedulerFlag
		n    uint64
	}{
		{specs.SchedFlagResetOnFork, unix.SCHED_FLAG_RESET_ON_FORK},
		{specs.SchedFlagReclaim, unix.SCHED_FLAG_RECLAIM},
		{specs.SchedFlagDLOverrun, unix.SCHED_FLAG_DL_OVERRUN},
		{specs.SchedFlagKeepPolicy, unix.SCHED_FLAG_KEEP_POLICY},
		{specs.SchedFlagKeepParams, unix.SCHED_FLAG_KEEP_PARAMS},
		{specs.SchedFlagUtilClampMin, unix.SCHED_FLAG_UTIL_CLAMP_MIN},
		{specs.SchedFlagUtilClampMax, unix.SCHED_FLAG_UTIL_CLAMP_MAX},
	}
)

// scheduling emits scheduler, I/O priority, personality and memory policy.
func (c *compiler) scheduling() error {
	p := c.proc()
	if s := p.Scheduler; s != nil {
		if err := c.scheduler(s); err != nil {
			return err
		}
	}
	if s := p.IOPriority; s != nil {
		class := map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}[s.Class]
		if class == 0 || s.Priority < 0 || s.Priority > 7 {
			return specErr("process.ioPriority: class %q, priority %d", s.Class, s.Priority)
		}
		const whoProcess, classShift = 1, 13
		c.Do("set I/O priority", "ioprio_set", sysprog.Int(whoProcess), sysprog.Int(0), sysprog.Int(class<<classShift|s.Priority))
	}
	if s := c.linux.Personality; s != nil {
		domain := map[specs.LinuxPersonalityDomain]int{specs.PerLinux: 0, specs.PerLinux32: 8}
		n, ok := domain[s.Domain]
		if !ok {
			return specErr("linux.personality.domain %q", s.Domain)
		}
		if len(s.Flags) > 0 {
			return specErr("linux.personality.flags: none are defined, got %q", s.Flags)
		}
		c.Do("set personality "+string(s.Domain), "personality", sysprog.Int(n))
	}
	return c.memoryPolicy()
}

func (c *compiler) scheduler(s *specs.Scheduler) error {
	policy, ok := uint32(0), false
	for _, p := range schedPolicies {
		if p.name == s.Policy {
			policy, ok = p.n, true
		}
	}
	if !ok {
		return specErr("process.scheduler.policy %q", s.Policy)
	}
	var flags uint64
	for _, name := range s.Flags {
		ok := false
		for _, f := range schedFlags {
			if f.name == name {
				flags, ok = flags|f.n, true
			}
		}
		if !ok {
			return specErr("process.scheduler.flags: %q", name)
		}
	}
	b := make([]byte, 48) // struct sched_attr, version 0
	binary.NativeEndian.PutUint32(b[0:], 48)
	binary.NativeEndian.PutUint32(b[4:], policy)
	binary.NativeEndian.PutUint64(b[8:], flags)
	binary.NativeEndian.PutUint32(b[16:], uint32(s.Nice))
	binary.NativeEndian.PutUint32(b[20:], uint32(s.Priority))
	binary.NativeEndian.PutUint64(b[24:], s.Runtime)
	binary.NativeEndian.PutUint64(b[32:], s.Deadline)
	binary.NativeEndian.PutUint64(b[40:], s.Period)
	c.Do("set scheduler "+string(s.Policy), "sched_setattr", sysprog.Int(0), sysprog.Ptr(c.Buf(b), 0), sysprog.Int(0))
	return nil
}

// memoryPolicy emits set_mempolicy(2).
func (c *compiler) memoryPolicy() error {
	m := c.linux.MemoryPolicy
	if m == nil {
		return nil
	}
	modes := []string{"MPOL_DEFAULT", "MPOL_PREFERRED", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"}
	mode := -1
	for i, s := range modes {
		if s == string(m.Mode) {
			mode = i
		}
	}
	if mode < 0 {
		return specErr("linux.memoryPolicy.mode %q", m.Mode)
	}
	bits := map[string]int{"MPOL_F_NUMA_BALANCING": 1 << 13, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_STATIC_NODES": 1 << 15}
	for _, f := range m.Flags {
		bit, ok := bits[string(f)]
		if !ok {
			return specErr("linux.memoryPolicy.flags: %q", f)
		}
		mode |= bit
	}
	mask, err := cpuMask(m.Nodes)
	if err != nil {
		return specErr("linux.memoryPolicy.nodes: %v", err)
	}
	if len(mask) == 0 {
		c.Do("set memory policy", "set_mempolicy", sysprog.Int(mode), sysprog.Int(0), sysprog.Int(0))
		return nil
	}
	c.Do("set memory policy", "set_mempolicy", sysprog.Int(mode), sysprog.Ptr(c.Buf(mask), 0), sysprog.Int(len(mask)*8+1))
	return nil
}

// cpuMask turns a list such as "0-3,7" into a bit mask of whole words.
func cpuMask(list string) ([]byte, error) {
	var mask []byte
	for _, part := range strings.Split(list, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, err := strconv.ParseUint(from, 10, 12)
		if err != nil {
			return nil, fmt.Errorf("list %q: %q is no number", list, from)
		}
		b, err := strconv.ParseUint(to, 10, 12)
		if err != nil || b < a {
			return nil, fmt.Errorf("list %q: %q is no range", list, part)
		}
		for ; a <= b; a++ {
			for int(a/8) >= len(mask) {
				mask = append(mask, make([]byte, 8)...)
			}
			mask[a/8] |= 1 << (a % 8)
		}
	}
	return mask, nil
}

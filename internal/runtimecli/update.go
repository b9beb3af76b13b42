package runtimecli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/internal/cli"
)

const updateLong = `Change the limits of a container while it runs. What is not given stays as it is.

--resources reads the "linux.resources" object of an OCI config.json; other flags are
ignored then. Sizes of memory take the endings k, m, g and t (powers of 1024); -1 means
no limit.`

func updateCommand(s *session) cli.Command {
	var l limits
	return cli.Command{
		Name: "update", Args: "ID", MinArgs: 1, MaxArgs: 1,
		Short: "change the limits of a container",
		Long:  updateLong,
		Flags: l.flags,
		Run: func(c *cli.Call) error {
			if l.l3CacheSchema != "" || l.memBwSchema != "" {
				return errors.New("update of resctrl schemas is not supported")
			}
			r, err := l.resources(c.In)
			if err != nil {
				return err
			}
			h, err := s.load(c)
			if err != nil {
				return err
			}
			return h.Update(r)
		},
	}
}

// limits holds the flags of update. The pointers stay nil where nothing was given.
type limits struct {
	file          string
	memory        specs.LinuxMemory
	cpu           specs.LinuxCPU
	pids          specs.LinuxPids
	block         specs.LinuxBlockIO
	l3CacheSchema string
	memBwSchema   string
}

func (l *limits) flags(f *cli.Flags) {
	f.String(&l.file, "resources", "r", "JSON `FILE` to read everything from; - is standard input")
	f.Func(l.blkioWeight, "blkio-weight", "", "`WEIGHT` of block I/O, 10 to 1000")
	f.Func(number(&l.cpu.Period), "cpu-period", "", "length of a CPU period in `MICROSECONDS`")
	f.Func(integer(&l.cpu.Quota), "cpu-quota", "", "CPU time a period in `MICROSECONDS`; -1 for no limit")
	f.Func(number(&l.cpu.Burst), "cpu-burst", "", "CPU time that may be saved up in `MICROSECONDS`")
	f.Func(number(&l.cpu.Shares), "cpu-share", "", "CPU `SHARES` against other containers")
	f.Func(number(&l.cpu.RealtimePeriod), "cpu-rt-period", "", "length of a real-time period in `MICROSECONDS`")
	f.Func(integer(&l.cpu.RealtimeRuntime), "cpu-rt-runtime", "", "real-time CPU time a period in `MICROSECONDS`")
	f.String(&l.cpu.Cpus, "cpuset-cpus", "", "`LIST` of CPUs: 0-3,5")
	f.String(&l.cpu.Mems, "cpuset-mems", "", "`LIST` of memory nodes")
	f.Func(integer(&l.cpu.Idle), "cpu-idle", "", "`1` runs the container only when nothing else wants to, 0 takes it back")
	f.Func(size(&l.memory.Limit), "memory", "", "limit of memory in `BYTES`")
	f.Func(size(&l.memory.Reservation), "memory-reservation", "", "memory kept when others want it, in `BYTES`")
	f.Func(size(&l.memory.Swap), "memory-swap", "", "limit of memory and swap together in `BYTES`")
	//lint:ignore SA1019 old callers still give it; package cgroup decides
	f.Func(size(&l.memory.Kernel), "kernel-memory", "", "")
	f.Func(size(&l.memory.KernelTCP), "kernel-memory-tcp", "", "")
	f.Func(integer(&l.pids.Limit), "pids-limit", "", "`NUMBER` of processes; -1 for no limit")
	f.String(&l.l3CacheSchema, "l3-cache-schema", "", "")
	f.String(&l.memBwSchema, "mem-bw-schema", "", "")
}

func (l *limits) blkioWeight(v string) error {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil {
		return err
	}
	w := uint16(n)
	l.block.Weight = &w
	return nil
}

// resources puts together what is to change; parts that nothing was said about are nil.
func (l *limits) resources(in io.Reader) (*specs.LinuxResources, error) {
	if l.file != "" {
		return readResources(l.file, in)
	}
	var r specs.LinuxResources
	if l.memory != (specs.LinuxMemory{}) {
		r.Memory = &l.memory
	}
	if l.cpu != (specs.LinuxCPU{}) {
		r.CPU = &l.cpu
	}
	if l.pids != (specs.LinuxPids{}) {
		r.Pids = &l.pids
	}
	if l.block.Weight != nil {
		r.BlockIO = &l.block
	}
	fixUp(&r)
	return &r, nil
}

func readResources(file string, in io.Reader) (*specs.LinuxResources, error) {
	name := file
	if file == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("--resources: %w", err)
		}
		defer f.Close()
		in = f
	}
	r := new(specs.LinuxResources)
	if err := json.NewDecoder(in).Decode(r); err != nil {
		return nil, fmt.Errorf("--resources: read %s: %w", name, err)
	}
	fixUp(r)
	return r, nil
}

// fixUp adds what the kernel wants beside a value. On cgroup v1 the limit of
// memory and swap may never be below that of memory alone, so that taking the one
// away takes the other away too (cgroup-v1/memory.rst, section 2.4).
func fixUp(r *specs.LinuxResources) {
	if m := r.Memory; m != nil && m.Limit != nil && *m.Limit == -1 && m.Swap == nil {
		none := int64(-1)
		m.Swap = &none
	}
}

func number(p **uint64) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseUint(v, 10, 64)
		*p = &n
		return err
	}
}

func integer(p **int64) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseInt(v, 10, 64)
		*p = &n
		return err
	}
}

func size(p **int64) func(string) error {
	return func(v string) error {
		n, err := parseSize(v)
		*p = &n
		return err
	}
}

var errSize = errors.New("want a number of bytes, like 1048576, 512k or 64m")

// parseSize reads a number of bytes: 512, 1.5g, 64MiB, 10kb. -1 stands for no limit.
func parseSize(text string) (int64, error) {
	if text == "-1" {
		return -1, nil
	}
	digits := strings.TrimRight(strings.ToLower(text), "kmgtpib ")
	ending := strings.TrimSpace(strings.ToLower(text[len(digits):]))
	ending = strings.TrimSuffix(strings.TrimSuffix(ending, "b"), "i")
	factor := int64(1)
	if ending != "" {
		i := strings.Index("kmgtp", ending)
		if i < 0 || len(ending) != 1 {
			return 0, errSize
		}
		factor <<= 10 * (i + 1)
	}
	if strings.Trim(digits, "0123456789.") != "" {
		return 0, errSize // strconv would take 1e9 and NaN too
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n*float64(factor) >= 1<<63 {
		return 0, errSize
	}
	if whole, err := strconv.ParseInt(digits, 10, 64); err == nil {
		return whole * factor, nil // exact above 2^53, too
	}
	return int64(n * float64(factor)), nil
}

package runtimetest

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// flagUpdate is one flag of update with what the control group shows after it.
type flagUpdate struct {
	flags      []string
	controller string
	v1, v2     map[string]string
}

func flagUpdates() []flagUpdate {
	return []flagUpdate{
		{[]string{"--memory", "67108864"}, "memory", map[string]string{"memory.limit_in_bytes": "67108864"}, map[string]string{"memory.max": "67108864"}},
		{[]string{"--memory", "64m"}, "memory", map[string]string{"memory.limit_in_bytes": "67108864"}, map[string]string{"memory.max": "67108864"}},
		{[]string{"--memory", "64M", "--memory-swap", "96M"}, "memory", map[string]string{"memory.memsw.limit_in_bytes": "100663296"}, map[string]string{"memory.swap.max": "33554432"}},
		{[]string{"--memory-reservation", "32M"}, "memory", map[string]string{"memory.soft_limit_in_bytes": "33554432"}, map[string]string{"memory.low": "33554432"}},
		{[]string{"--cpu-share", "512"}, "cpu", map[string]string{"cpu.shares": "512"}, nil},
		{[]string{"--cpu-quota", "30000", "--cpu-period", "60000"}, "cpu", map[string]string{"cpu.cfs_quota_us": "30000", "cpu.cfs_period_us": "60000"}, map[string]string{"cpu.max": "30000 60000"}},
		{[]string{"--cpu-rt-period", "500000", "--cpu-rt-runtime", "1000"}, "cpu", map[string]string{"cpu.rt_period_us": "500000", "cpu.rt_runtime_us": "1000"}, nil},
		{[]string{"--cpuset-cpus", "0"}, "cpuset", map[string]string{"cpuset.cpus": "0"}, map[string]string{"cpuset.cpus": "0"}},
		{[]string{"--cpuset-mems", "0"}, "cpuset", map[string]string{"cpuset.mems": "0"}, map[string]string{"cpuset.mems": "0"}},
		{[]string{"--pids-limit", "44"}, "pids", map[string]string{"pids.max": "44"}, map[string]string{"pids.max": "44"}},
		{[]string{"--pids-limit", "-1"}, "pids", map[string]string{"pids.max": "max"}, map[string]string{"pids.max": "max"}},
		{[]string{"--cpu-idle", "1"}, "cpu", map[string]string{"cpu.idle": "1"}, map[string]string{"cpu.idle": "1"}},
		{[]string{"--cpu-quota", "50000", "--cpu-burst", "20000"}, "cpu", map[string]string{"cpu.cfs_burst_us": "20000"}, map[string]string{"cpu.max.burst": "20000"}},
		{[]string{"--blkio-weight", "300"}, "blkio", map[string]string{"blkio.bfq.weight": "300"}, nil},
	}
}

func TestUpdateFromFlags(t *testing.T) {
	t.Parallel()
	for _, u := range flagUpdates() {
		t.Run(strings.Join(u.flags, " "), func(t *testing.T) {
			t.Parallel()
			files := u.v1
			if unifiedOnly() {
				files = u.v2
			}
			if files == nil {
				t.Skip("has no file of its own in this version")
			}
			needController(t, u.controller)
			for f := range files {
				if !cgroupFileExists(u.controller, f) {
					t.Skipf("needs the kernel to have %s", f)
				}
			}
			if contains(u.flags, "--cpu-idle") || contains(u.flags, "--cpu-burst") {
				peerLacks(t, "older than this", "runc", "crun")
			}
			if contains(u.flags, "64m") || contains(u.flags, "96M") || contains(u.flags, "32M") || contains(u.flags, "-1") || contains(u.flags, "300") {
				peerLacks(t, "crun 1.8 reads plain numbers only, and knows no bfq", "crun")
			}
			b := newBundle(t, "sleep", "60").up()
			b.must(append(append([]string{"update"}, u.flags...), b.id)...)
			for f, want := range files {
				b.wantFile(t, u.controller, f, want)
			}
		})
	}
}

func TestUpdateFromJSONFileAndStandardInput(t *testing.T) {
	t.Parallel()
	needController(t, "pids")
	b := newBundle(t, "sleep", "60").up()
	write := func(limit int64) string {
		text, err := json.Marshal(specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}, Memory: &specs.LinuxMemory{Limit: ptr(int64(64 * mib))}})
		must(t, err)
		return mustWrite(t, b.path("resources.json"), string(text))
	}
	b.must("update", "--resources", write(33), b.id)
	b.wantFile(t, "pids", "pids.max", "33")
	in, err := os.Open(write(34))
	must(t, err)
	defer in.Close()
	b.stdin = in
	b.must("update", "--resources", "-", b.id)
	b.wantFile(t, "pids", "pids.max", "34")
	b.stdin = nil
	mustWrite(t, b.path("resources.json"), "{")
	b.refused(nil, "update", "--resources", b.path("resources.json"), b.id)
	b.wantFile(t, "pids", "pids.max", "34")
}

func TestUpdateOfManyAtOnceByJSON(t *testing.T) {
	t.Parallel()
	for _, l := range append(append(cpuLimits(), memoryLimits()...), otherLimits()...) {
		files := l.v1
		if unifiedOnly() {
			files = l.v2
		}
		if len(files) == 0 || l.name == "cpu idle" || l.name == "cpu burst" || l.name == "realtime" || strings.Contains(l.name, "kernel") {
			continue
		}
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			needController(t, l.controller)
			switch l.name {
			case "swappiness":
				peerLacks(t, "runc 1.1 ignores it", "runc")
			case "pids unlimited", "cpu no quota":
				peerLacks(t, "crun 1.8 does not read -1", "crun")
			}
			b := newBundle(t, "sleep", "60").up()
			r := &specs.LinuxResources{}
			l.set(r)
			text, err := json.Marshal(r)
			must(t, err)
			for f := range files {
				if !cgroupFileExists(l.controller, f) {
					t.Skipf("needs the kernel to have %s", f)
				}
			}
			b.must("update", "--resources", mustWrite(t, b.path("resources.json"), string(text)), b.id)
			for f, want := range files {
				b.wantFile(t, l.controller, f, want)
			}
		})
	}
}

func TestUpdateKeepsWhatItDoesNotName(t *testing.T) {
	t.Parallel()
	needController(t, "pids")
	needController(t, "cpu")
	b := newBundle(t, "sleep", "60").caps("CAP_MKNOD", "CAP_SYSLOG")
	b.Spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(50))}
	b.Spec.Linux.Resources.CPU = &specs.LinuxCPU{Quota: ptr(int64(30000)), Period: ptr(uint64(60000))}
	deviceNodes(b)
	b.up()
	b.must("update", "--memory", "67108864", b.id)
	b.wantFile(t, "pids", "pids.max", "50")
	if unifiedOnly() {
		b.wantFile(t, "cpu", "cpu.max", "30000 60000")
	} else {
		b.wantFile(t, "cpu", "cpu.cfs_quota_us", "30000")
	}
	r := b.execDo("openfd /kmsg", "write /dev/null x")
	wantResults(b, r, "operation not permitted", "")
}

// Twice the quota needs the new period first, half of it the new quota first: the kernel checks the ratio.
func TestUpdateUpAndDownAgain(t *testing.T) {
	t.Parallel()
	needController(t, "memory")
	b := newBundle(t, "sleep", "60").up()
	limit, swap := "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
	for _, v := range []string{"67108864", "268435456", "134217728"} {
		b.must("update", "--memory", v, "--memory-swap", v, b.id)
		if unifiedOnly() {
			b.wantFile(t, "memory", "memory.max", v)
			continue
		}
		b.wantFile(t, "memory", limit, v)
		if cgroupFileExists("memory", swap) {
			b.wantFile(t, "memory", swap, v)
		}
	}
	peerLacks(t, "crun 1.8 does not read -1", "crun")
	b.must("update", "--memory", "-1", "--memory-swap", "-1", b.id)
}

func TestUpdateOfCreatedAndRefusalOfStopped(t *testing.T) {
	t.Parallel()
	needController(t, "pids")
	b := newBundle(t, "sleep", "60")
	b.create()
	b.must("update", "--pids-limit", "61", b.id)
	b.wantFile(t, "pids", "pids.max", "61")
	b.start()
	b.ready()
	b.wantFile(t, "pids", "pids.max", "61")
	b.refused(nil, "update", "--cpuset-cpus", "4000", b.id)
	b.refused(nil, "update", "--memory", "nonsense", b.id)
	b.must("kill", b.id, "KILL")
	b.stopped()
	peerLacks(t, "update a stopped container", "runc", "crun")
	b.refused(nil, "update", "--pids-limit", "62", b.id)
}

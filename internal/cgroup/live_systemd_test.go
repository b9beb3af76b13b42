package cgroup

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// needSystemd skips on a machine that systemd does not run.
func needSystemd(t *testing.T) *Host {
	t.Helper()
	h := needRoot(t)
	if !exists("/run/systemd/system") {
		t.Skip("needs systemd as the machine's first process")
	}
	return h
}

// gated is a process that waits to be let go, as the launcher's child does while
// systemd makes its unit.
type gated struct {
	cmd  *exec.Cmd
	gate io.WriteCloser
}

func startGated(t *testing.T) *gated {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "read line; exec sleep 1000")
	gate, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &gated{cmd, gate}
}

// startScope makes a container's scope around a new process.
func startScope(t *testing.T, h *Host, r Request) (*Plan, *gated) {
	t.Helper()
	r.Systemd = true
	p, err := NewPlan(h, r)
	if err != nil {
		t.Fatalf("NewPlan = %v", err)
	}
	g := startGated(t)
	if err := p.StartUnit(t.Context(), g.cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Group.Signal(unix.SIGKILL)
		if err := p.Group.Remove(); err != nil {
			t.Errorf("Remove = %v", err)
		}
	})
	if err := p.Enter(g.cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(g.gate, "go\n")
	return p, g
}

// unitProperty asks systemd for a property of a scope.
func unitProperty(t *testing.T, unit, name string) any {
	t.Helper()
	b, err := dialSystemd(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	var path dbus.ObjectPath
	if err := b.manager.Call(systemdManager+".GetUnit", 0, unit).Store(&path); err != nil {
		t.Fatalf("unit %s: %v", unit, err)
	}
	v, err := b.conn.Object(systemdName, path).GetProperty(name)
	if err != nil {
		t.Fatalf("property %s: %v", name, err)
	}
	return v.Value()
}

func TestLiveSystemdScope(t *testing.T) {
	h := needSystemd(t)
	if h.Mode() != V2 {
		t.Skip("needs a machine with cgroup v2 only")
	}
	rules := append([]specs.LinuxDeviceCgroup{{Access: "rwm"}}, DefaultDeviceRules()...)
	p, g := startScope(t, h, Request{
		ID: "x", CgroupsPath: "tare-test.slice:unit:scope",
		Resources: &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20))}, Pids: &specs.LinuxPids{Limit: ptr(int64(0))}, Devices: rules,
			CPU:     &specs.LinuxCPU{Shares: ptr(uint64(512)), Quota: ptr(int64(12345)), Period: ptr(uint64(50000)), Cpus: "0"},
			Unified: map[string]string{"memory.high": "50000000"},
		},
		Annotations: map[string]string{"org.systemd.property.Description": "'a test'"},
	})
	if pids, err := p.Group.Pids(); err != nil || len(pids) != 1 || pids[0] != g.cmd.Process.Pid {
		t.Errorf("Pids = %v, %v, want %d", pids, err, g.cmd.Process.Pid)
	}
	l := &live{Plan: p, h: h, t: t}
	l.want("", "memory.max", "67108864", "memory.high", "49999872", "pids.max", "0", "cpu.weight", "59",
		"cpu.max", "12345 50000", "cpuset.cpus", "0")
	if got := unitProperty(t, "unit-scope.scope", "org.freedesktop.systemd1.Scope.MemoryMax"); got != uint64(64<<20) {
		t.Errorf("MemoryMax = %v", got)
	}
	if got := unitProperty(t, "unit-scope.scope", "org.freedesktop.systemd1.Unit.Description"); got != "a test" {
		t.Errorf("Description = %v", got)
	}
	err := p.Group.Update(&specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr(int64(32 << 20))}, Pids: &specs.LinuxPids{Limit: ptr(int64(7))},
		Unified: map[string]string{"memory.high": "max"},
	})
	if err != nil {
		t.Fatal(err)
	}
	reloadSystemd(t)
	l.want("", "memory.max", "33554432", "memory.high", "max", "pids.max", "7", "cpu.weight", "59")
	group, err := unix.Open(p.Dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(group)
	ours, err := attachedPrograms(group)
	if err != nil || len(ours) != 1 {
		t.Errorf("%d device programs of ours after a reload, %v", len(ours), err)
	}
	closeAll(ours)
}

// systemd must not undo what is in the files when it is reloaded.
func reloadSystemd(t *testing.T) {
	t.Helper()
	b, err := dialSystemd(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if err := b.call(t.Context(), "Reload"); err != nil {
		t.Fatal(err)
	}
}

func TestLiveSystemdScopeOnV1(t *testing.T) {
	h := needSystemd(t)
	if h.Mode() == V2 {
		t.Skip("needs a machine with cgroup v1")
	}
	rules := append([]specs.LinuxDeviceCgroup{{Access: "rwm"}}, DefaultDeviceRules()...)
	p, g := startScope(t, h, Request{
		ID: "x", CgroupsPath: "tare-test.slice:unit:scope",
		Resources: &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20))}, Pids: &specs.LinuxPids{Limit: ptr(int64(5))}, Devices: rules,
			CPU: &specs.LinuxCPU{Shares: ptr(uint64(512)), Quota: ptr(int64(20000)), Period: ptr(uint64(50000)), Cpus: "0"},
		},
	})
	for name, dir := range p.Group.Paths {
		pids, err := processesIn(dir)
		if err != nil || len(pids) != 1 || pids[0] != g.cmd.Process.Pid {
			t.Errorf("processes of %q = %v, %v, want %d", name, pids, err, g.cmd.Process.Pid)
		}
	}
	l := &live{Plan: p, h: h, t: t}
	check := func(memory string) {
		t.Helper()
		l.want("memory", v1MemoryLimit, memory)
		l.want("cpu", "cpu.shares", "512", "cpu.cfs_quota_us", "20000")
		l.want("pids", "pids.max", "5")
		if list, ok := parseDevicesList(readString(p.Group.Paths["devices"], "devices.list")); !ok || len(list) != len(rules)-1 {
			t.Errorf("devices.list has %d rules, %v, want %d", len(list), ok, len(rules)-1)
		}
	}
	check("67108864")
	if err := p.Group.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(32 << 20))}}); err != nil {
		t.Fatal(err)
	}
	reloadSystemd(t)
	check("33554432")
}

func TestLiveSystemdRemove(t *testing.T) {
	h := needSystemd(t)
	p, g := startScope(t, h, Request{ID: fmt.Sprintf("test%d", serial.Add(1))})
	if err := p.Group.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := p.Group.Thaw(); err != nil {
		t.Fatal(err)
	}
	if err := p.Group.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = g.cmd.Wait()
	if err := p.Group.Remove(); err != nil {
		t.Fatal(err)
	}
	if p.Group.Exists() {
		t.Error("the group exists after Remove")
	}
	if err := p.Group.Remove(); err != nil {
		t.Errorf("second Remove = %v", err)
	}
	// The name is free again.
	startScope(t, h, Request{ID: strings.TrimSuffix(strings.TrimPrefix(p.Unit.Name, "tare-"), ".scope")})
}

func TestLiveSystemdRefusals(t *testing.T) {
	h := needSystemd(t)
	r := Request{ID: fmt.Sprintf("test%d", serial.Add(1)), Systemd: true}
	again, err := NewPlan(h, r)
	if err != nil {
		t.Fatal(err)
	}
	startScope(t, h, r)
	if _, err := NewPlan(h, r); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("NewPlan for a scope in use = %v", err)
	}
	if err := again.StartUnit(t.Context(), startGated(t).cmd.Process.Pid); !isError(err, "UnitExists") {
		t.Errorf("StartUnit of a unit that is there = %v, want UnitExists", err)
	}
	p, err := NewPlan(h, Request{ID: "none", Systemd: true})
	if err != nil {
		t.Fatal(err)
	}
	dead := startGated(t)
	_ = dead.cmd.Process.Kill()
	_ = dead.cmd.Wait()
	if err := p.StartUnit(t.Context(), dead.cmd.Process.Pid); err == nil {
		t.Error("a unit was started around a process that is gone")
	}
	p, err = NewPlan(h, Request{ID: "none", Systemd: true, Annotations: map[string]string{annotationPrefix + "NoSuchProperty": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.StartUnit(t.Context(), startGated(t).cmd.Process.Pid); err == nil || !strings.Contains(err.Error(), "NoSuchProperty") {
		t.Errorf("StartUnit with an unknown property = %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if err := p.StartUnit(ctx, 1); err == nil {
		t.Error("StartUnit succeeded after its time")
	}
}

// systemd is reached over its own socket and over a bus.
func TestLiveSystemdAddresses(t *testing.T) {
	needSystemd(t)
	for _, a := range systemdAddresses(false) {
		path := strings.TrimPrefix(a.path, "unix:path=")
		if !exists(path) {
			t.Logf("no %s", path)
			continue
		}
		conn, err := dial(t.Context(), a)
		if err != nil {
			t.Errorf("%s: %v", a.path, err)
			continue
		}
		b := &systemd{conn: conn, manager: conn.Object(systemdName, systemdPath)}
		if err := b.subscribe(t.Context(), a.private); err != nil || b.version < 200 {
			t.Errorf("%s: version %d, %v", a.path, b.version, err)
		}
		// A job whose end is signalled on this connection.
		if err := b.job(t.Context(), "StartUnit", "tare-test-address.slice", "replace"); err != nil {
			t.Errorf("%s: job: %v", a.path, err)
		}
		if err := b.job(t.Context(), "StopUnit", "tare-test-address.slice", "replace"); err != nil {
			t.Errorf("%s: job: %v", a.path, err)
		}
		b.close()
	}
}

package cgroup

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// systemdFiles is a v2 machine that was booted with systemd.
func systemdFiles(own string) map[string]string {
	return with(v2Files(own), "run/systemd/system/", "")
}

func TestUnitNamesAndPlaces(t *testing.T) {
	tests := []struct {
		path     string
		rootless bool
		own      string
		name     string
		slice    string
		dir      string
	}{
		{"", false, "/", "tare-web.scope", "system.slice", "/system.slice/tare-web.scope"},
		{"machine.slice:libpod:1234", false, "/", "libpod-1234.scope", "machine.slice", "/machine.slice/libpod-1234.scope"},
		{"a-b-c.slice:cri:x", false, "/", "cri-x.scope", "a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice/cri-x.scope"},
		{"-.slice::x", false, "/", "x.scope", "-.slice", "/x.scope"},
		{":docker:x", false, "/", "docker-x.scope", "system.slice", "/system.slice/docker-x.scope"},
		{"user.slice:libpod:x", true, "/user.slice/user-7.slice/user@7.service/app.slice/a.scope", "libpod-x.scope", "user.slice", "/user.slice/user-7.slice/user@7.service/user.slice/libpod-x.scope"},
	}
	for _, test := range tests {
		h, root := probeTree(t, systemdFiles(test.own))
		u, err := newUnit(h, Request{ID: "web", CgroupsPath: test.path, Systemd: true, Rootless: test.rootless})
		if err != nil {
			t.Errorf("%q: %v", test.path, err)
			continue
		}
		if got := strings.TrimPrefix(u.dir, root+"/sys/fs/cgroup"); u.Name != test.name || u.Slice != test.slice || got != test.dir || u.User != test.rootless {
			t.Errorf("%q: %+v, want %+v", test.path, u, test)
		}
	}
	h, _ := probeTree(t, systemdFiles("/"))
	for _, bad := range []string{"/abs/path", "a:b", "a:b:c:d", "x:y:z", "a--b.slice:y:z", "a/b.slice:y:z", "a.slice:y:z/w", "a.slice:y:z.slice", "a.slice:y:", ".slice:y:z"} {
		if u, err := newUnit(h, Request{ID: "web", CgroupsPath: bad, Systemd: true}); err == nil {
			t.Errorf("cgroupsPath %q was taken: %+v", bad, u)
		}
	}
}

func TestUnitPlan(t *testing.T) {
	h, root := probeTree(t, with(systemdFiles("/"), "sys/fs/cgroup/cgroup.controllers", "memory pids\n"))
	p, err := NewPlan(h, Request{ID: "web", Systemd: true, CgroupsPath: "m.slice:p:web", Resources: &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr(int64(1 << 20))}, Devices: smallRules(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `write "+memory" to CG/cgroup.subtree_control
write "+pids" to CG/cgroup.subtree_control (optional)
mkdir CG/m.slice
write "+memory" to CG/m.slice/cgroup.subtree_control
write "+pids" to CG/m.slice/cgroup.subtree_control (optional)
mkdir CG/m.slice/p-web.scope
write "1048576" to CG/m.slice/p-web.scope/memory.max
into CG/m.slice/p-web.scope
devices: 13 instructions
group "": CG/m.slice/p-web.scope`
	if got := planText(p, root); got != want {
		t.Errorf("plan:\n%s\nwant:\n%s", got, want)
	}
	if p.Unit == nil || p.Group.Unit != "p-web.scope" || p.Group.UserUnit {
		t.Errorf("unit %+v, group %+v", p.Unit, p.Group)
	}
}

func TestUnitProperties(t *testing.T) {
	r := &specs.LinuxResources{
		Memory:  &specs.LinuxMemory{Limit: ptr(int64(100)), Swap: ptr(int64(150)), Reservation: ptr(int64(-1))},
		CPU:     &specs.LinuxCPU{Shares: ptr(uint64(1024)), Quota: ptr(int64(12345)), Period: ptr(uint64(100000)), Cpus: "0,9", Mems: "0"},
		Pids:    &specs.LinuxPids{Limit: ptr(int64(0))},
		BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(1000))},
	}
	// 12.345 percent is rounded up to whole percents.
	checkProperties(t, r, true, 252, `AllowedCPUs=[1 2] AllowedMemoryNodes=[1] CPUQuotaPerSecUSec=130000 CPUQuotaPeriodUSec=100000 `+
		`CPUWeight=100 IOWeight=10000 MemoryLow=18446744073709551615 MemoryMax=100 MemorySwapMax=50 TasksMax=1`)
	checkProperties(t, r, true, 240, `CPUQuotaPerSecUSec=130000 CPUWeight=100 IOWeight=10000 MemoryLow=18446744073709551615 `+
		`MemoryMax=100 MemorySwapMax=50 TasksMax=1`)
	checkProperties(t, r, false, 240, `BlockIOWeight=1000 CPUQuotaPerSecUSec=130000 CPUShares=1024 MemoryLimit=100 TasksMax=1`)
	checkProperties(t, &specs.LinuxResources{Unified: map[string]string{
		"memory.high": "5\n", "pids.max": "max", "cpu.max": "max 100000", "cpuset.cpus": "1", "io.latency": "x",
	}}, true, 252, `AllowedCPUs=[2] CPUQuotaPerSecUSec=18446744073709551615 CPUQuotaPeriodUSec=100000 MemoryHigh=5 TasksMax=18446744073709551615`)
	if _, err := resourceProperties(&specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "3-1"}}, true); err == nil {
		t.Error("cpus 3-1 were taken")
	}
}

func checkProperties(t *testing.T, r *specs.LinuxResources, v2 bool, version int, want string) {
	t.Helper()
	list, err := resourceProperties(r, v2)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, p := range wire(list, version) {
		words = append(words, fmt.Sprintf("%s=%v", p.Name, p.Value.Value()))
	}
	slices.Sort(words)
	if got := strings.Join(words, " "); got != want {
		t.Errorf("properties for version %d:\n%s\nwant:\n%s", version, got, want)
	}
}

func TestDeviceProperties(t *testing.T) {
	rules, err := deviceRules(append(smallRules(), specs.LinuxDeviceCgroup{Allow: true, Type: "b", Access: "m"}))
	if err != nil {
		t.Fatal(err)
	}
	got := deviceProperties(rules)
	want := []property{
		{name: "DevicePolicy", value: "strict"},
		{name: "DeviceAllow", value: []deviceEntry{{"/dev/char/1:3", "rwm"}, {"block-*", "m"}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("deviceProperties = %+v, want %+v", got, want)
	}
}

func TestUnitAnnotations(t *testing.T) {
	h, _ := probeTree(t, systemdFiles("/"))
	r := Request{ID: "web", Systemd: true, Annotations: map[string]string{
		"org.systemd.property.TimeoutStopUSec":      "uint64 123456789",
		"org.systemd.property.JobRunningTimeoutSec": "1.5",
		"org.systemd.property.CollectMode":          "'inactive-or-failed'",
		"other":                                     "x",
	}}
	u, err := newUnit(h, r)
	if err != nil {
		t.Fatal(err)
	}
	want := []property{
		{name: "CollectMode", value: "inactive-or-failed"},
		{name: "JobRunningTimeoutUSec", value: uint64(1500000)},
		{name: "TimeoutStopUSec", value: uint64(123456789)},
	}
	if !reflect.DeepEqual(u.properties, want) {
		t.Errorf("properties = %+v, want %+v", u.properties, want)
	}
	for key, text := range map[string]string{"": "1", "a b": "1", "X": "'", "YSec": "'soon'"} {
		r.Annotations = map[string]string{annotationPrefix + key: text}
		if _, err := newUnit(h, r); err == nil {
			t.Errorf("annotation %q=%q was taken", key, text)
		}
	}
}

// What goes over the bus must have the signature that systemd declares.
func TestUnitOnTheWire(t *testing.T) {
	list := wire([]property{{name: "A", value: []deviceEntry{{"/dev/null", "r"}}}, {name: "B", value: []byte{1}}, {name: "A", value: true}}, 252)
	if len(list) != 2 || list[0].Value.Value() != true {
		t.Errorf("wire = %+v, want the last value of A", list)
	}
	aux := []struct {
		Name       string
		Properties []wireProperty
	}{}
	if got := dbus.SignatureOf("x", "replace", list, aux).String(); got != "ssa(sv)a(sa(sv))" {
		t.Errorf("signature of StartTransientUnit = %s", got)
	}
	if got := dbus.SignatureOf([]deviceEntry{}).String(); got != "a(ss)" {
		t.Errorf("signature of DeviceAllow = %s", got)
	}
}

func TestSystemdVersion(t *testing.T) {
	for text, want := range map[string]int{"252.39-1~deb12u1": 252, "v245.4-1.fc32": 245, `"257"`: 257, "x": 0, "": 0} {
		if got := systemdVersion(text); got != want {
			t.Errorf("systemdVersion(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestBitmap(t *testing.T) {
	for list, want := range map[string][]byte{"0": {1}, "0-3,7": {0x8f}, " 8 ,": {0, 1}, "1-1": {2}} {
		if got, err := bitmap(list); err != nil || !bytes.Equal(got, want) {
			t.Errorf("bitmap(%q) = %v, %v, want %v", list, got, err, want)
		}
	}
	for _, bad := range []string{"", ",", "a", "3-1", "1-", "65536", "-1"} {
		if got, err := bitmap(bad); err == nil {
			t.Errorf("bitmap(%q) = %v", bad, got)
		}
	}
}

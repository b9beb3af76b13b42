package program

import (
	"encoding/binary"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestParseMountSortsOptions(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   specs.Mount
		want mount
	}{
		{
			"bind without a type",
			specs.Mount{Destination: "data", Source: "vol", Options: []string{"rbind", "ro", "rnosuid", "rprivate"}},
			mount{
				dest: "/data", kind: "bind", source: "/bundle/vol", recursive: true, set: unix.MOUNT_ATTR_RDONLY, rset: unix.MOUNT_ATTR_NOSUID,
				propagation: []uintptr{unix.MS_PRIVATE | unix.MS_REC},
			},
		},
		{
			"the last option wins",
			specs.Mount{Destination: "/a", Type: "bind", Source: "/b", Options: []string{"ro", "rw", "suid", "nosuid", "noatime", "relatime"}},
			mount{dest: "/a", kind: "bind", source: "/b", set: unix.MOUNT_ATTR_NOSUID, clear: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR__ATIME},
		},
		{
			"a file system's own options",
			specs.Mount{Destination: "//dev/./shm/", Type: "tmpfs", Source: "shm", Options: []string{"noexec", "sync", "mode=1777", "size=64k", "defaults"}},
			mount{
				dest: "/dev/shm", kind: "tmpfs", source: "shm", set: unix.MOUNT_ATTR_NOEXEC, super: []string{"sync"},
				msFlags: unix.MS_SYNCHRONOUS, data: []string{"mode=1777", "size=64k"},
			},
		},
		{
			"an id map",
			specs.Mount{Destination: "/a", Type: "bind", Source: "/b", UIDMappings: []specs.LinuxIDMapping{{Size: 1}}},
			mount{dest: "/a", kind: "bind", source: "/b", idmap: true},
		},
		{
			"a change of what is there",
			specs.Mount{Destination: "/a/../../b", Options: []string{"remount", "nodev"}},
			mount{dest: "/b", remount: true, set: unix.MOUNT_ATTR_NODEV},
		},
	} {
		tc.want.index = 3
		got, err := parseMount(3, &tc.in, "/bundle")
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		} else if !reflect.DeepEqual(*got, tc.want) {
			t.Errorf("%s: got %+v, want %+v", tc.name, *got, tc.want)
		}
	}
}

func TestMountsThatAreRefused(t *testing.T) {
	for name, m := range map[string]specs.Mount{
		"no type":             {Destination: "/a", Source: "b"},
		"bind, no source":     {Destination: "/a", Type: "bind"},
		"the root":            {Destination: "/../.", Type: "tmpfs"},
		"copy up of no tmpfs": {Destination: "/a", Type: "proc", Options: []string{"tmpcopyup"}},
		"id map of no bind":   {Destination: "/a", Type: "tmpfs", Options: []string{"idmap"}},
	} {
		if got, err := parseMount(0, &m, "/bundle"); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
}

func TestOnlyKnownFilesOfProcAreCovered(t *testing.T) {
	for dest, want := range map[string]bool{
		"/proc/cpuinfo": true, "/proc/net/dev": true, "/proc/sys/kernel/ns_last_pid": true, "/procession": true,
		"/proc/cpuinfo/x": false, "/proc/self": false, "/proc/sys": false, "/proc": false, "/proc/1/attr/exec": false,
	} {
		if err := checkProc(&mount{dest: dest, kind: "tmpfs"}); (err == nil) != want {
			t.Errorf("tmpfs on %s: %v, want allowed: %v", dest, err, want)
		}
	}
	for _, kind := range []string{"proc", "bind"} { // what is bound there is looked at later
		if err := checkProc(&mount{dest: "/proc", kind: kind}); err != nil {
			t.Errorf("%s on /proc: %v", kind, err)
		}
	}
}

func FuzzParseMount(f *testing.F) {
	f.Add("/data", "bind", "src", "rbind,ro,rprivate")
	f.Add("/dev/shm", "tmpfs", "shm", "mode=1777,tmpcopyup")
	f.Fuzz(func(t *testing.T, dest, kind, source, options string) {
		m, err := parseMount(0, &specs.Mount{Destination: dest, Type: kind, Source: source, Options: strings.Split(options, ",")}, "/bundle")
		if err != nil {
			return
		}
		if m.dest == "/" || !strings.HasPrefix(m.dest, "/") || strings.Contains(m.dest+"/", "/../") || strings.Contains(m.dest, "//") {
			t.Errorf("destination %q became %q", dest, m.dest)
		}
		if m.set&m.clear != 0 && m.set&m.clear != unix.MOUNT_ATTR__ATIME&m.set {
			t.Errorf("options %q both set and clear %#x", options, m.set&m.clear)
		}
	})
}

func TestCPUMask(t *testing.T) {
	for list, want := range map[string][]byte{
		"": nil, " ": nil, "0": {1}, "0-3,7": {0x8f}, "8": {0, 1}, "3-3": {8}, "64": {0, 0, 0, 0, 0, 0, 0, 0, 1},
	} {
		got, err := cpuMask(list)
		if err != nil || len(got)%8 != 0 || strings.TrimRight(string(got), "\x00") != string(want) {
			t.Errorf("cpuMask(%q) = %x, %v, want %x in whole words", list, got, err, want)
		}
	}
	for _, list := range []string{"x", "1-", "-1", "3-1", "1,2,y", "99999", "0x1", "1-2-3"} {
		if got, err := cpuMask(list); err == nil {
			t.Errorf("cpuMask(%q) = %x, want an error", list, got)
		}
	}
}

func TestSysctlPath(t *testing.T) {
	for name, want := range map[string]string{
		"net.ipv4.ip_forward": "net/ipv4/ip_forward", "net/ipv4/ip_forward": "net/ipv4/ip_forward", "kernel.sem": "kernel/sem",
		"net.ipv4.conf.eth0/1.forwarding": "net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding": "net/ipv4/conf/eth0.1/forwarding",
		"plain": "plain",
	} {
		if got := sysctlPath(name); got != want {
			t.Errorf("sysctlPath(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestEnvironKeepsTheLastOfEqualNames(t *testing.T) {
	got := Environ([]string{"A=1", "B=2", "A=3", "C=", "B=4"})
	if want := []string{"A=3", "C=", "B=4"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCapabilitiesThatAreNotThereAreWarnedOf(t *testing.T) {
	in := input(t, modern(), "")
	in.Facts.LastCap = 37
	in.Facts.Caps = 1<<5 | 1<<38 // kill, and one that the kernel does not have
	c, err := newCompiler(in)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"CAP_KILL", "cap_kill", "CAP_BPF", "CAP_NET_RAW", "CAP_NONSENSE", "KILL"}
	got := c.capSets(&specs.LinuxCapabilities{Bounding: names, Effective: names})
	if got.bounding != 1<<5 || got.effective != 1<<5 || got.permitted != 0 {
		t.Errorf("got %+v, want CAP_KILL in two sets", got)
	}
	if len(c.Warnings) != 4 { // each name once, whatever the number of sets
		t.Errorf("warnings %q, want 4", c.Warnings)
	}
	// The namespace's root has all, whatever the caller has.
	in.Spec.Linux.Namespaces = append(in.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	if got := c.capSets(&specs.LinuxCapabilities{Bounding: []string{"CAP_NET_RAW"}}); got.bounding != 1<<13 {
		t.Errorf("in a user namespace: %+v, want CAP_NET_RAW", got)
	}
}

// A waiting process holds what it waits with and nothing else.
func TestWaitingProcessKeepsFewDescriptors(t *testing.T) {
	in := input(t, modern(), "")
	in.Wait, in.Fork, in.PreserveFDs, in.HookStateFD, in.ListenerFD = true, true, 2, -1, -1
	p, err := Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, op := range p.Ops {
		if op.Call == "dup3" && op.What == "move descriptor" {
			kept = append(kept, op.Call)
		}
	}
	if text := p.Text(); len(kept) != 3 || !strings.Contains(text, "close_range(8, 0xffffffff, 0)") {
		t.Errorf("keeps %d descriptors from 5 on, want exec.fifo, start.fifo and the gate", len(kept))
	}
}

func TestMemoryPolicyMask(t *testing.T) {
	in := input(t, modern(), `{"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0,2", "flags": ["MPOL_F_STATIC_NODES"]}}}`)
	p, err := Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	want := binary.NativeEndian.AppendUint64(nil, 5)
	for _, op := range p.Ops {
		if op.Call == "set_mempolicy" {
			if text := p.Text(); !strings.Contains(text, "set_mempolicy(0x8002, &0500000000000000, 65)") {
				t.Errorf("mask of nodes 0 and 2 is not %x", want)
			}
			return
		}
	}
	t.Error("no set_mempolicy in the list")
}

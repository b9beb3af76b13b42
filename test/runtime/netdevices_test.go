package runtimetest

import (
	"os/exec"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// dummyLink makes a pair of interfaces on the host with an address, and removes what is left of it.
func dummyLink(t *testing.T) string {
	t.Helper()
	peerLacks(t, "older than netDevices", "runc", "crun")
	ip := needProgram(t, "ip")
	name := "tt" + itoa(int(serial.Add(1))) + "a"
	if out, err := exec.Command(ip, "link", "add", name, "type", "veth", "peer", "name", name+"b").CombinedOutput(); err != nil {
		t.Skipf("needs veth interfaces: %s", out)
	}
	t.Cleanup(func() { exec.Command(ip, "link", "del", name+"b").Run() })
	for _, args := range [][]string{{"addr", "add", "10.11.12.13/24", "dev", name}, {"link", "set", name + "b", "up"}} {
		if out, err := exec.Command(ip, args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %s", args, out)
		}
	}
	return name
}

func TestNetworkDeviceIsMovedWithItsAddresses(t *testing.T) {
	t.Parallel()
	name := dummyLink(t)
	b := newBundle(t)
	b.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{name: {}}
	i, ok := b.report().Interfaces[name]
	if !ok || !i.Up || !contains(i.Addrs, "10.11.12.13/24") {
		t.Errorf("%v, want it up with its address", i)
	}
}

func TestNetworkDeviceIsRenamed(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"eth0": "eth0", "net%d": "net0"} {
		name := dummyLink(t)
		b := newBundle(t)
		b.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{name: {Name: given}}
		if r := b.report(); !r.Interfaces[want].Up {
			t.Errorf("interfaces %v, want %s", r.Interfaces, want)
		}
	}
}

func TestNetworkDevicesThatCannotMoveAreRefused(t *testing.T) {
	t.Parallel()
	name := dummyLink(t)
	for label, edit := range map[string]func(s *specs.Spec){
		"missing":      func(s *specs.Spec) { s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"tt-missing": {}} },
		"name taken":   func(s *specs.Spec) { s.Linux.NetDevices = map[string]specs.LinuxNetDevice{name: {Name: "lo"}} },
		"bad name":     func(s *specs.Spec) { s.Linux.NetDevices = map[string]specs.LinuxNetDevice{name: {Name: "a/b"}} },
		"no namespace": func(s *specs.Spec) { s.Linux.NetDevices = map[string]specs.LinuxNetDevice{name: {}} },
	} {
		b := newBundle(t, "echo")
		edit(b.Spec)
		if label == "no namespace" {
			b.noNamespace(specs.NetworkNamespace)
		}
		if r := b.run(); r.code == 0 {
			t.Errorf("%s: accepted", label)
		}
	}
	if out, err := exec.Command("ip", "addr", "show", name).CombinedOutput(); err != nil {
		t.Errorf("the interface is gone after refusals: %s", out)
	}
}

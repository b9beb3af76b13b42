package network

import (
	"errors"
	"net/netip"
	"testing"
)

func TestMacvlan(t *testing.T) {
	w := newWorld(t)
	if !w.m.Probe().Macvlan {
		t.Skip("needs the kernel to have macvlan")
	}
	w.create(Network{
		Name: "lan", Driver: Macvlan, Subnet: netip.MustParsePrefix("192.0.2.0/24"), Range: netip.MustParsePrefix("192.0.2.64/26"),
		Gateway: netip.MustParseAddr(outsideAddress), Options: map[string]string{"parent": "eth0"},
	})
	a := w.box("m1", Endpoint{Network: "lan"})
	b := w.box("m2", Endpoint{Network: "lan", IP: netip.MustParseAddr("192.0.2.200"), MAC: "02:00:00:00:00:07"})
	if got := a.at[0].IP.String(); got != "192.0.2.64" {
		t.Errorf("m1 has %s, want the first of the range", got)
	}
	outside := &box{w: w, ns: w.outside}
	for _, to := range []*box{a, b} {
		if got := outside.hears("tcp", to.at[0].IP.String()+":80", to.id); got != to.id {
			t.Errorf("outside to %s: heard %q", to.id, got)
		}
	}
	if got := a.hears("tcp", "192.0.2.200:80", "m2"); got != "m2" {
		t.Errorf("m1 to m2: heard %q", got)
	}
	if got := w.m.DNS("m1"); got != nil {
		t.Errorf("DNS = %v, want the host's servers", got)
	}
	if _, err := w.m.Attach(newNamespace(t), Endpoint{Container: "m3", Network: "lan", Ports: []Port{{Port: 80}}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("publish a port of a macvlan: %v", err)
	}
	w.must(w.m.Release("m1", "lan"))
}

func TestHostAndNone(t *testing.T) {
	w := newWorld(t)
	w.create(Network{Name: "host", Driver: Host})
	w.create(Network{Name: "none", Driver: None})
	for _, name := range []string{"host", "none"} {
		ns := newNamespace(t)
		a, err := w.m.Attach(ns, Endpoint{Container: "c", Network: name})
		if err != nil || a.Interface != "" {
			t.Errorf("attach to %s: %+v, %v", name, a, err)
		}
		if err := w.m.Detach("c", name); err != nil {
			t.Error(err)
		}
	}
	w.must(w.m.Remove("host"))
}

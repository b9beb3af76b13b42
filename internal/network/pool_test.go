package network

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestSubnetAvoidsTheHosts(t *testing.T) {
	prefixes := func(list ...string) (all []netip.Prefix) {
		for _, p := range list {
			all = append(all, netip.MustParsePrefix(p))
		}
		return all
	}
	tests := []struct {
		taken []netip.Prefix
		want  string
	}{
		{nil, "172.17.0.0/16"},
		{prefixes("172.17.4.0/24"), "172.18.0.0/16"},
		{prefixes("172.16.0.0/12"), "192.168.0.0/20"},
		{prefixes("172.16.0.0/12", "192.168.1.0/24"), "192.168.16.0/20"},
		{prefixes("172.16.0.0/12", "192.168.0.0/16"), ""},
		{prefixes("fd00::/8"), "172.17.0.0/16"},
	}
	for _, tt := range tests {
		got, err := subnet(defaultPools(), tt.taken)
		if (err != nil) != (tt.want == "") || err == nil && got.String() != tt.want {
			t.Errorf("subnet(%v) = %v, %v, want %q", tt.taken, got, err, tt.want)
		}
	}
}

// TestChooseGivesEachAddressOnce and, when one is given back, not that one next.
func TestChooseGivesEachAddressOnce(t *testing.T) {
	p := netip.MustParsePrefix("10.1.2.0/29")
	taken := map[netip.Addr]bool{netip.MustParseAddr("10.1.2.1"): true}
	var last netip.Addr
	var given []string
	for {
		a, ok := choose(p, p, last, taken)
		if !ok {
			break
		}
		taken[a], last = true, a
		given = append(given, a.String())
	}
	want := []string{"10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6"}
	if !slices.Equal(given, want) {
		t.Errorf("given %v, want %v", given, want)
	}
	taken = map[netip.Addr]bool{}
	if a, _ := choose(p, p, netip.MustParseAddr("10.1.2.4"), taken); a.String() != "10.1.2.5" {
		t.Errorf("after 10.1.2.4: %v", a)
	}
}

func TestWishes(t *testing.T) {
	w := newWorld(t)
	red := w.create(Network{Name: "red", Subnet: netip.MustParsePrefix("10.7.0.0/24"), Range: netip.MustParsePrefix("10.7.0.128/25"), Gateway: netip.MustParseAddr("10.7.0.254")})
	r1 := w.box("r1", Endpoint{Network: "red", Names: []string{"web"}})
	r2 := w.box("r2", Endpoint{Network: red.ID, IP: netip.MustParseAddr("10.7.0.9"), MAC: "02:00:00:00:00:09", Interface: "lan0"})
	if got := r1.at[0].IP.String(); got != "10.7.0.128" {
		t.Errorf("r1 has %s", got)
	}
	if a := r2.at[0]; a.IP.String() != "10.7.0.9" || a.MAC != "02:00:00:00:00:09" || a.Interface != "lan0" || a.Gateway != red.Gateway {
		t.Errorf("r2 has %+v", a)
	}
	if got := r1.hears("tcp", "10.7.0.9:80", "r2"); got != "r2" {
		t.Errorf("r1 to r2: heard %q", got)
	}
	tests := []struct {
		e    Endpoint
		want error
		says string
	}{
		{Endpoint{Network: "red", IP: r1.at[0].IP}, ErrInUse, "in use by web"},
		{Endpoint{Network: "red", IP: red.Gateway}, ErrInUse, "in use by the gateway"},
		{Endpoint{Network: "red", IP: netip.MustParseAddr("10.8.0.1")}, ErrInvalid, "10.8.0.1"},
		{Endpoint{Network: "red", IP: netip.MustParseAddr("10.7.0.255")}, ErrInvalid, "10.7.0.255"},
		{Endpoint{Network: "red", IP6: netip.MustParseAddr("fd00::1")}, ErrInvalid, "no IPv6"},
		{Endpoint{Network: "red", MAC: "01:00:00:00:00:01"}, ErrInvalid, "MAC"},
		{Endpoint{Network: "red", Ports: []Port{{Port: 80, Proto: "sctp"}}}, ErrInvalid, "sctp"},
		{Endpoint{Network: "red", Ports: []Port{{}}}, ErrInvalid, "port 0"},
		{Endpoint{Network: "green"}, ErrNotFound, "green"},
	}
	for _, tt := range tests {
		tt.e.Container = "r3"
		_, err := w.m.Attach(newNamespace(t), tt.e)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("attach %+v: %v, want %v with %q", tt.e, err, tt.want, tt.says)
		}
	}
	w.must(w.m.Detach("r1", "red"))
	if err := w.m.Remove("red"); !errors.Is(err, ErrInUse) {
		t.Errorf("remove with r2 in it: %v", err)
	}
	w.checkKernel()
}

func TestCreateRefuses(t *testing.T) {
	w := newWorld(t)
	red := w.create(Network{Name: "red", Subnet: netip.MustParsePrefix("10.7.0.0/24")})
	if again, err := w.m.Create(red); err != nil || again.Subnet != red.Subnet {
		t.Errorf("create again: %v, %v", again, err)
	}
	tests := []struct {
		n    Network
		want error
	}{
		{Network{ID: "0123456789", Name: "red"}, ErrExists},
		{Network{ID: red.ID, Name: "other"}, ErrExists},
		{Network{ID: "0123456789", Name: "x", Subnet: netip.MustParsePrefix("10.7.0.128/25")}, ErrInUse},
		{Network{ID: "0123456789", Name: "x", Subnet: netip.MustParsePrefix("192.0.2.0/25")}, ErrInUse},
		{Network{ID: "0123456789", Name: "x", Options: map[string]string{"com.docker.network.bridge.name": "eth0"}}, ErrExists},
		{Network{ID: "0123456789", Name: "x", Options: map[string]string{"mtu": "12"}}, ErrInvalid},
		{Network{ID: "0123456789", Name: "x", Driver: "overlay"}, ErrInvalid},
		{Network{ID: "0123456789", Name: "x", Links: []Link{{From: "a", To: "b"}}}, ErrInvalid},
		{Network{ID: "0123456789", Name: "x", Gateway: netip.MustParseAddr("10.9.0.1")}, ErrInvalid},
		{Network{ID: "0123456789"}, ErrInvalid},
		{Network{Name: "x"}, ErrInvalid},
	}
	for _, tt := range tests {
		if _, err := w.m.Create(tt.n); !errors.Is(err, tt.want) {
			t.Errorf("create %+v: %v, want %v", tt.n, err, tt.want)
		}
		w.checkKernel()
	}
	if _, err := w.m.Get("x"); !errors.Is(err, ErrNotFound) || len(w.m.List()) != 1 {
		t.Errorf("Get: %v, List: %v", err, w.m.List())
	}
}

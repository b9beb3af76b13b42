package network

import (
	"errors"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestLinksChange(t *testing.T) {
	w := newWorld(t)
	w.create(Network{Name: "strict", Options: map[string]string{"com.docker.network.bridge.enable_icc": "false"}})
	a := w.box("a", Endpoint{Network: "strict", Names: []string{"app"}})
	b := w.box("b", Endpoint{Network: "strict", Names: []string{"db", "data"}})
	tests := []struct {
		links []Link
		there string // what a hears of b
		back  string // and b of a
		reach []Reach
	}{
		{nil, "", "", nil},
		{[]Link{{From: "app", To: "data", Proto: "tcp", Port: 80}}, "b", "", []Reach{{From: "a", To: "b", Network: "strict", Proto: "tcp", Port: 80}}},
		{[]Link{{From: "app", To: "data", Proto: "tcp", Port: 81, End: 90}}, "", "", []Reach{{From: "a", To: "b", Network: "strict", Proto: "tcp", Port: 81, End: 90}}},
		{[]Link{{From: "b", To: "a"}, {From: "APP", To: "nobody"}}, "", "a", []Reach{{From: "b", To: "a", Network: "strict"}}},
		{nil, "", "", nil},
	}
	for _, tt := range tests {
		w.must(w.m.SetLinks("strict", tt.links))
		there := a.hears("tcp", b.at[0].IP.String()+":80", tt.there)
		back := b.hears("tcp", a.at[0].IP.String()+":80", tt.back)
		if there != tt.there || back != tt.back || !slices.Equal(w.m.Reach(), tt.reach) {
			t.Errorf("links %v: a hears %q, b hears %q, Reach = %v", tt.links, there, back, w.m.Reach())
		}
	}
	if err := w.m.SetLinks("strict", []Link{{From: "a", To: "b", Proto: "icmp"}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a link of another protocol: %v", err)
	}
	// A member that comes later is linked by its name.
	w.must(w.m.SetLinks("strict", []Link{{From: "app", To: "late"}}))
	late := w.box("c", Endpoint{Network: "strict", Names: []string{"late"}})
	if got := a.hears("tcp", late.at[0].IP.String()+":80", "c"); got != "c" {
		t.Errorf("a to c: heard %q", got)
	}
	w.must(w.m.Rename("c", "strict", []string{"other"}))
	if got := a.hears("tcp", late.at[0].IP.String()+":80", ""); got != "" {
		t.Errorf("a to c by its old name: heard %q", got)
	}
}

// TestBounce: a bridge that is set down and up for an old kernel still does all it did.
func TestBounce(t *testing.T) {
	w := newWorld(t)
	red := w.create(Network{Name: "red", IPv6: true})
	r1 := w.box("r1", Endpoint{Network: "red", Names: []string{"web"}, Ports: []Port{{HostPort: 8080, Port: 80}}})
	s := w.dial(w.host)
	l, err := s.link("tare-red0000000")
	w.must(err)
	w.must(bounce(s, w.m.record.network("red"), l.index))
	outside := &box{w: w, ns: w.outside}
	for _, at := range []string{hostAddress + ":8080", "[" + hostAddress6 + "]:8080"} {
		if got := outside.hears("tcp", at, "r1"); got != "r1" {
			t.Errorf("%s: heard %q", at, got)
		}
	}
	if code, got := askName(t, r1.ns, "udp", red.Gateway, "web", dnsmessage.TypeA); len(got) != 1 {
		t.Errorf("names: %s", code)
	}
}

// TestFirstPacketPasses: a container can be talked to when Attach returns, also the first in a network.
func TestFirstPacketPasses(t *testing.T) {
	w := newWorld(t)
	fast := 0
	for range 5 {
		w.create(Network{Name: "red", IPv6: true})
		r1 := w.box("r1", Endpoint{Network: "red"})
		start := time.Now()
		if got, _ := ask(t, w.host, "tcp", r1.at[0].IP.String()+":80", certain); got != "r1" {
			t.Errorf("heard %q", got)
		}
		if time.Since(start) < 500*time.Millisecond { // a packet lost costs a second
			fast++
		}
		w.must(w.m.Release("r1", ""))
		w.must(w.m.Remove("red"))
	}
	if fast < 3 {
		t.Errorf("%d of 5 first connections were there at once", fast)
	}
}

func TestKernelWithoutNetfilter(t *testing.T) {
	w := newWorld(t)
	if a := w.m.Probe(); !a.Nftables || !a.Ports || len(w.tables()) != 0 {
		t.Errorf("Probe() = %+v, tables %v", a, w.tables())
	}
	w.m.families = nil
	if a := w.m.Probe(); a.Nftables || len(a.Reasons) != 1 {
		t.Errorf("Probe() = %+v", a)
	}
	for driver, want := range map[string]error{Bridge: ErrNoNetfilter, Host: nil, None: nil} {
		if _, err := w.m.Create(Network{ID: driver + "00000000", Name: driver, Driver: driver}); !errors.Is(err, want) {
			t.Errorf("create %s: %v, want %v", driver, err, want)
		}
	}
	w.checkKernel()
}

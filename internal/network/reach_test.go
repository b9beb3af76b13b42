package network

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMatrix connects every container with every other one, over TCP and UDP, and finds exactly what
// the networks say.
func TestMatrix(t *testing.T) {
	eachBridgeFilter(t, func(w *world, _ bool) { checkMatrix(w.t, w) })
}

func checkMatrix(t *testing.T, w *world) {
	t.Helper()
	for _, name := range []string{"red", "blue"} {
		w.create(Network{Name: name, IPv6: true})
	}
	w.create(Network{Name: "inner", Internal: true})
	w.create(Network{Name: "strict", IPv6: true, Options: map[string]string{"icc": "false"}, Links: []Link{
		{From: "s1", To: "s2", Proto: "tcp", Port: 80},
		{From: "s3", To: "s1", Proto: "udp", Port: 79, End: 81},
		{From: "s2", To: "s3"},
	}})
	var boxes []*box
	for _, network := range []string{"red", "blue", "inner", "strict"} {
		for i := 1; i <= 3; i++ {
			name := fmt.Sprintf("%c%d", network[0], i)
			boxes = append(boxes, w.box(name, Endpoint{Network: network, Names: []string{name}}))
		}
	}
	want := map[string]bool{"s1 s2 tcp": true, "s3 s1 udp": true, "s2 s3 tcp": true, "s2 s3 udp": true}
	var all sync.WaitGroup
	for _, over := range []string{"tcp", "udp"} {
		for _, from := range boxes {
			for _, to := range boxes {
				same := from.id[0] == to.id[0]
				expect := from == to || same && from.id[0] != 's' || want[from.id+" "+to.id+" "+over]
				all.Go(func() { checkReach(t, from, to, over, expect) })
			}
		}
	}
	all.Wait()
}

func checkReach(t *testing.T, from, to *box, over string, want bool) {
	t.Helper()
	addresses := []string{to.at[0].IP.String()}
	if to.at[0].IP6.IsValid() && from.at[0].IP6.IsValid() {
		addresses = append(addresses, to.at[0].IP6.String())
	}
	for _, a := range addresses {
		expect := ""
		if want {
			expect = to.id
		}
		if got := from.hears(over, net.JoinHostPort(a, "80"), expect); got != expect {
			t.Errorf("%s from %s to %s at %s: heard %q, want %q", over, from.id, to.id, a, got, expect)
		}
	}
}

func TestWaysOut(t *testing.T) {
	w := newWorld(t)
	serve(t, w.outside, 80, "outside")
	serve(t, w.host, 81, "host")
	w.create(Network{Name: "red", IPv6: true})
	w.create(Network{Name: "inner", Internal: true})
	red := w.box("r1", Endpoint{Network: "red"})
	inner := w.box("i1", Endpoint{Network: "inner"})
	word, seen := ask(t, red.ns, "tcp", outsideAddress+":80", certain)
	if host, _, _ := net.SplitHostPort(seen); word != "outside" || host != hostAddress {
		t.Errorf("red to outside: heard %q as %q, want outside as %s", word, seen, hostAddress)
	}
	if word, _ := ask(t, red.ns, "tcp", "[2001:db8::2]:80", certain); word != "outside" {
		t.Errorf("red to outside over IPv6: heard %q", word)
	}
	if word := red.hears("tcp", hostAddress+":81", "host"); word != "host" {
		t.Errorf("red to host: heard %q", word)
	}
	if word := inner.hears("tcp", outsideAddress+":80", ""); word != "" {
		t.Errorf("inner to outside: heard %q", word)
	}
	if word := inner.hears("tcp", hostAddress+":81", ""); word != "" {
		t.Errorf("inner to host: heard %q", word)
	}
	if word, _ := ask(t, w.host, "tcp", inner.at[0].IP.String()+":80", certain); word != "i1" {
		t.Errorf("host to inner: heard %q", word)
	}
}

// TestMembersCannotPretend: a link is from a container, not from whoever sends as it.
func TestMembersCannotPretend(t *testing.T) {
	w := newWorld(t)
	w.create(Network{Name: "strict", Options: map[string]string{"icc": "false"}, Links: []Link{{From: "good", To: "target", Proto: "tcp"}}})
	good := w.box("good", Endpoint{Network: "strict"})
	target := w.box("target", Endpoint{Network: "strict"})
	bad := w.box("bad", Endpoint{Network: "strict"})
	if !w.m.Probe().Apart {
		t.Skip("needs the kernel to have nf_tables for bridges")
	}
	at := target.at[0].IP.String() + ":80"
	if got := good.hears("tcp", at, "target"); got != "target" {
		t.Fatalf("good to target: heard %q", got)
	}
	// What a container with CAP_NET_ADMIN can do: take the other one's addresses and be its neighbour.
	s := w.dial(bad.ns)
	l, err := s.link("eth0")
	w.must(err)
	be := request(unix.RTM_NEWLINK, 0, linkHeader(unix.AF_UNSPEC, l.index, false))
	be.bytes(unix.IFLA_ADDRESS, macOf(good.at[0].IP))
	w.must(s.do(be))
	m := request(unix.RTM_DELADDR, 0, addressHeader(l.index, bad.at[0].Prefix))
	m.address(unix.IFA_LOCAL, bad.at[0].IP)
	w.must(s.do(m))
	w.must(s.addAddress(l.index, good.at[0].Prefix, false))
	w.must(s.addRoute(route{to: single(good.at[0].Gateway), out: l.index}))
	w.must(s.addRoute(route{to: single(target.at[0].IP), via: good.at[0].Gateway, out: l.index}))
	if got := bad.hears("tcp", at, ""); got != "" {
		t.Errorf("bad as good to target: heard %q", got)
	}
}

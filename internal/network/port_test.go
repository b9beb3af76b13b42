package network

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPublish reaches published ports from everywhere they should be reached from: outside, the host,
// its loopback, another network, the container itself and its neighbour; and nothing else from outside.
func TestPublish(t *testing.T) {
	eachBridgeFilter(t, func(w *world, on bool) { checkPublish(w.t, w, on) })
}

func checkPublish(t *testing.T, w *world, filtered bool) {
	t.Helper()
	w.create(Network{Name: "red", IPv6: true})
	w.create(Network{Name: "blue", IPv6: true})
	w.create(Network{Name: "inner", Internal: true})
	w.create(Network{Name: "strict", Options: map[string]string{"icc": "false"}})
	r1 := w.box("r1", Endpoint{Network: "red", Ports: []Port{
		{HostPort: 8080, Port: 80},
		{HostPort: 8080, Port: 80, Proto: "udp"},
		{HostPort: 8081, Port: 80, HostIP: netip.MustParseAddr("127.0.0.1")},
		{HostPort: 8082, Port: 80, HostIP: netip.MustParseAddr(hostAddress)},
		{HostPort: 8083, Port: 80, HostIP: netip.MustParseAddr(hostAddress6)},
		{HostPort: 8084, Port: 80, HostIP: netip.MustParseAddr("0.0.0.0")},
		{HostPort: 8085, Port: 80, HostIP: netip.MustParseAddr("::")},
	}})
	r2 := w.box("r2", Endpoint{Network: "red"})
	b1 := w.box("b1", Endpoint{Network: "blue"})
	i1 := w.box("i1", Endpoint{Network: "inner"})
	s1 := w.box("s1", Endpoint{Network: "strict", Ports: []Port{{HostPort: 8090, Port: 80}}})
	s2 := w.box("s2", Endpoint{Network: "strict"})
	outside, host := &box{w: w, ns: w.outside}, &box{w: w, ns: w.host}
	// A neighbour outside that sends straight to the container's address.
	s := w.dial(w.outside)
	l, err := s.link("up0")
	w.must(err)
	w.must(s.addRoute(route{to: netip.MustParsePrefix("172.16.0.0/12"), via: netip.MustParseAddr(hostAddress), out: l.index}))

	// With br_netfilter, what goes back into a bridge does so in the bridge, where s1 and s2 are apart.
	strict := "s1"
	if filtered {
		strict = ""
	}
	tests := []struct {
		from     *box
		over, at string
		want     string
	}{
		{outside, "tcp", hostAddress + ":8080", "r1"},
		{outside, "udp", hostAddress + ":8080", "r1"},
		{outside, "tcp", "[" + hostAddress6 + "]:8080", "r1"},
		{outside, "udp", "[" + hostAddress6 + "]:8080", "r1"},
		{outside, "tcp", hostAddress + ":8081", ""},
		{outside, "tcp", hostAddress + ":8082", "r1"},
		{outside, "tcp", "[" + hostAddress6 + "]:8082", ""},
		{outside, "tcp", "[" + hostAddress6 + "]:8083", "r1"},
		{outside, "tcp", hostAddress + ":8084", "r1"},
		{outside, "tcp", "[" + hostAddress6 + "]:8084", ""},
		{outside, "tcp", hostAddress + ":8085", ""},
		{outside, "tcp", "[" + hostAddress6 + "]:8085", "r1"},
		{outside, "tcp", hostAddress + ":80", ""},
		{outside, "tcp", r1.at[0].IP.String() + ":80", ""},
		{outside, "tcp", r2.at[0].IP.String() + ":80", ""},
		{outside, "tcp", hostAddress + ":8090", "s1"},
		{host, "tcp", hostAddress + ":8080", "r1"},
		{host, "tcp", "127.0.0.1:8080", "r1"},
		{host, "udp", "127.0.0.1:8080", "r1"},
		{host, "tcp", "127.0.0.1:8081", "r1"},
		{host, "tcp", "127.0.0.1:8082", ""},
		{host, "tcp", "[" + hostAddress6 + "]:8080", "r1"},
		{host, "tcp", "[::1]:8080", ""}, // refused at once: localhost is 127.0.0.1, too
		{host, "tcp", r1.at[0].Gateway.String() + ":8080", "r1"},
		{r1, "tcp", hostAddress + ":8080", "r1"},
		{r1, "udp", hostAddress + ":8080", "r1"},
		{r2, "tcp", hostAddress + ":8080", "r1"},
		{r2, "udp", r2.at[0].Gateway.String() + ":8080", "r1"},
		{r1, "tcp", "[" + hostAddress6 + "]:8080", "r1"},
		{r2, "tcp", "[" + hostAddress6 + "]:8080", "r1"},
		{r2, "tcp", hostAddress + ":8081", ""},
		{b1, "tcp", hostAddress + ":8080", "r1"},
		{b1, "tcp", b1.at[0].Gateway.String() + ":8080", "r1"},
		{b1, "tcp", "[" + hostAddress6 + "]:8080", "r1"},
		{i1, "tcp", hostAddress + ":8080", ""},
		{i1, "tcp", i1.at[0].Gateway.String() + ":8080", ""},
		{s1, "tcp", hostAddress + ":8090", strict},
		{s2, "tcp", hostAddress + ":8090", strict},
	}
	var all sync.WaitGroup
	for _, tt := range tests {
		all.Go(func() {
			if got := tt.from.hears(tt.over, tt.at, tt.want); got != tt.want {
				t.Errorf("from %q to %s %s: heard %q, want %q", tt.from.id, tt.over, tt.at, got, tt.want)
			}
		})
	}
	all.Wait()
	if _, seen := ask(t, w.outside, "tcp", hostAddress+":8080", certain); !strings.HasPrefix(seen, outsideAddress+":") {
		t.Errorf("the container sees %s, want the client %s", seen, outsideAddress)
	}
	w.must(w.m.Detach("r1", "red"))
	if got := outside.hears("tcp", hostAddress+":8080", ""); got != "" {
		t.Errorf("after Detach: heard %q", got)
	}
}

// TestMemberDoesNotReachLoopbackOfHost: bridges take 127.0.0.0/8 for published ports.
func TestMemberDoesNotReachLoopbackOfHost(t *testing.T) {
	w := newWorld(t)
	w.create(Network{Name: "red"})
	err := within(w.host, func() error {
		l, err := net.Listen("tcp", "127.0.0.1:8099")
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		return err
	})
	w.must(err)
	b := w.box("r1", Endpoint{Network: "red"})
	s := w.dial(b.ns)
	// What a container with CAP_NET_ADMIN would do.
	w.must(within(b.ns, func() error { return sysctl("ipv4/conf/eth0/route_localnet", "1") }))
	l, err := s.link("eth0")
	w.must(err)
	m := request(unix.RTM_DELADDR, 0, addressHeader(1, netip.MustParsePrefix("127.0.0.1/8")))
	m.address(unix.IFA_LOCAL, netip.MustParseAddr("127.0.0.1"))
	w.must(s.do(m))
	w.must(s.addRoute(route{to: netip.MustParsePrefix("127.0.0.0/8"), via: b.at[0].Gateway, out: l.index}))
	var c net.Conn
	err = within(b.ns, func() (err error) {
		c, err = (&net.Dialer{Timeout: 500e6}).Dial("tcp", "127.0.0.1:8099")
		return err
	})
	if err == nil {
		_ = c.Close()
		t.Error("the container reached the host's 127.0.0.1:8099")
	}
}

func TestPortInUseNamesItsHolder(t *testing.T) {
	w := newWorld(t)
	w.create(Network{Name: "red", IPv6: true})
	err := within(w.host, func() error {
		l, err := net.Listen("tcp", "127.0.0.1:8070")
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		return err
	})
	w.must(err)
	w.box("r1", Endpoint{Network: "red", Names: []string{"web"}, Ports: []Port{{HostPort: 8071, Port: 80}}})
	tests := []struct {
		port uint16
		want string
	}{{8070, "network.test"}, {8071, "container web"}}
	for _, tt := range tests {
		_, err := w.m.Attach(newNamespace(t), Endpoint{Container: "r2", Network: "red", Ports: []Port{{HostPort: tt.port, Port: 80}}})
		var taken *PortError
		if !errors.As(err, &taken) || taken.HostPort != tt.port || !strings.Contains(taken.Holder, tt.want) || !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("attach with port %d: %v, want a PortError held by %s", tt.port, err, tt.want)
		}
		t.Log(err)
	}
	if got := w.m.Attachments(); len(got) != 1 {
		t.Errorf("%d attachments after those that failed, want 1", len(got))
	}
}

func TestPortsAreChosen(t *testing.T) {
	w := newWorld(t)
	w.create(Network{Name: "red"})
	ends := func(ports ...Port) Endpoint { return Endpoint{Network: "red", Ports: ports} }
	r1 := w.box("r1", ends(Port{HostPort: 8000, HostEnd: 8002, Port: 80}, Port{Port: 80}))
	r2 := w.box("r2", ends(Port{HostPort: 8000, HostEnd: 8002, Port: 80}))
	if got := r1.at[0].Ports; got[0].HostPort != 8000 || got[1].HostPort == 0 {
		t.Errorf("r1 has %v", got)
	}
	if got := r2.at[0].Ports; got[0].HostPort != 8001 {
		t.Errorf("r2 has %v, want port 8001", got)
	}
	outside := &box{w: w, ns: w.outside}
	for at, want := range map[uint16]string{8000: "r1", r1.at[0].Ports[1].HostPort: "r1", 8001: "r2", 8002: ""} {
		if got := outside.hears("tcp", netip.AddrPortFrom(netip.MustParseAddr(hostAddress), at).String(), want); got != want {
			t.Errorf("port %d: heard %q, want %q", at, got, want)
		}
	}
	w.must(w.m.Release("r1", ""))
	if r3 := w.box("r3", ends(Port{HostPort: 8000, HostEnd: 8002, Port: 80})); r3.at[0].Ports[0].HostPort != 8000 {
		t.Errorf("after release: %v, want port 8000", r3.at[0].Ports)
	}
}

// TestSteadyClient sends from one port all the time, as sensors do: before a port is published, while
// one container has it, and when the next one has.
func TestSteadyClient(t *testing.T) {
	w := newWorld(t)
	w.create(Network{Name: "red"})
	var c net.Conn
	w.must(within(w.outside, func() (err error) {
		c, err = net.Dial("udp", hostAddress+":8080")
		return err
	}))
	defer c.Close()
	heard := func(want string) (word string) {
		buf := make([]byte, 512)
		for range 20 {
			_, _ = c.Write([]byte("?"))
			_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if n, err := c.Read(buf); err == nil { // may be an answer to an earlier question
				if word, _, _ = strings.Cut(string(buf[:n]), " "); word == want {
					break
				}
			}
		}
		return word
	}
	_, _ = c.Write([]byte("?"))
	published := Endpoint{Network: "red", Ports: []Port{{HostPort: 8080, Port: 80, Proto: "udp"}}}
	w.box("r1", published)
	if got := heard("r1"); got != "r1" {
		t.Errorf("heard %q, want r1", got)
	}
	w.must(w.m.Detach("r1", "red"))
	w.box("r2", published)
	if got := heard("r2"); got != "r2" {
		t.Errorf("heard %q, want r2", got)
	}
}

// TestPublishAtAnAddressToCome is a device that starts before it has its address.
func TestPublishAtAnAddressToCome(t *testing.T) {
	w := newWorld(t)
	w.create(Network{Name: "red"})
	w.box("r1", Endpoint{Network: "red", Ports: []Port{{HostPort: 8080, Port: 80, HostIP: netip.MustParseAddr("192.0.2.77")}}})
	w.settle(w.host, "eth0", "192.0.2.77/24")
	outside := &box{w: w, ns: w.outside}
	if got := outside.hears("tcp", "192.0.2.77:8080", "r1"); got != "r1" {
		t.Errorf("heard %q, want r1", got)
	}
	if got := outside.hears("tcp", hostAddress+":8080", ""); got != "" {
		t.Errorf("at another address: heard %q", got)
	}
}

func TestPortsOverlap(t *testing.T) {
	at := func(proto, address string) *Port {
		p := &Port{Proto: proto}
		if address != "" {
			p.HostIP = netip.MustParseAddr(address)
		}
		return p
	}
	tests := []struct {
		a, b *Port
		want bool
	}{
		{at("tcp", ""), at("tcp", ""), true},
		{at("tcp", ""), at("udp", ""), false},
		{at("tcp", ""), at("tcp", "::1"), true},
		{at("tcp", "0.0.0.0"), at("tcp", "10.0.0.1"), true},
		{at("tcp", "0.0.0.0"), at("tcp", "::"), false},
		{at("tcp", "10.0.0.2"), at("tcp", "10.0.0.1"), false},
		{at("tcp", "10.0.0.1"), at("tcp", "10.0.0.1"), true},
		{at("tcp", "::"), at("tcp", "fd00::1"), true},
	}
	for _, tt := range tests {
		if tt.a.overlaps(tt.b) != tt.want || tt.b.overlaps(tt.a) != tt.want {
			t.Errorf("%v overlaps %v: want %v", tt.a, tt.b, tt.want)
		}
	}
}

// TestAnotherProgramCannotTakeAPublishedPort, as servers ask for one, and finds out when it tries.
func TestAnotherProgramCannotTakeAPublishedPort(t *testing.T) {
	w := newWorld(t)
	w.create(Network{Name: "red"})
	w.box("r1", Endpoint{Network: "red", Ports: []Port{{HostPort: 8080, Port: 80}}})
	for _, at := range []string{":8080", "127.0.0.1:8080"} {
		err := within(w.host, func() error {
			l, err := net.Listen("tcp", at) // with SO_REUSEADDR
			if err == nil {
				_ = l.Close()
			}
			return err
		})
		if !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("listen at %s: %v", at, err)
		}
	}
}

// TestPortOfConnectionsPast: a server of the host's ended a moment ago, and its connections linger.
func TestPortOfConnectionsPast(t *testing.T) {
	w := newWorld(t)
	w.create(Network{Name: "red"})
	w.must(within(w.host, func() error {
		l, err := net.Listen("tcp", "127.0.0.1:8080")
		if err != nil {
			return err
		}
		defer l.Close()
		c, err := net.Dial("tcp", "127.0.0.1:8080")
		if err != nil {
			return err
		}
		s, err := l.Accept()
		if err != nil {
			return err
		}
		return errors.Join(s.Close(), c.Close()) // the server's end first, so it lingers
	}))
	w.box("r1", Endpoint{Network: "red", Ports: []Port{{HostPort: 8080, Port: 80}}})
}

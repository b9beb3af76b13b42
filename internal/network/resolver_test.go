package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// question of a test; a name without its last dot.
func pack(t testing.TB, id uint16, name string, kind dnsmessage.Type) []byte {
	t.Helper()
	n, err := dnsmessage.NewName(name + ".")
	if err != nil {
		t.Fatal(err)
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: kind, Class: dnsmessage.ClassINET}},
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// askName asks as a container does and returns the code and what was answered.
func askName(t *testing.T, ns *os.File, over string, server netip.Addr, name string, kind dnsmessage.Type) (string, []string) {
	t.Helper()
	var c net.Conn
	err := within(ns, func() (err error) {
		c, err = net.DialTimeout(over, netip.AddrPortFrom(server, 53).String(), time.Second)
		return err
	})
	if err != nil {
		return err.Error(), nil
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(7 * time.Second))
	packet := pack(t, 4711, name, kind)
	answer := make([]byte, 4096)
	if over == "tcp" {
		if err := writeFrame(c, packet); err != nil {
			return err.Error(), nil
		}
		answer, err = readFrame(c)
	} else {
		_, _ = c.Write(packet)
		var n int
		n, err = c.Read(answer)
		answer = answer[:n]
	}
	if err != nil {
		return err.Error(), nil
	}
	return unpack(t, answer)
}

func unpack(t *testing.T, answer []byte) (string, []string) {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(answer); err != nil {
		t.Fatalf("answer %x: %v", answer, err)
	}
	if m.ID != 4711 || !m.Response {
		t.Fatalf("answer has header %v", m.Header)
	}
	var found []string
	for _, a := range m.Answers {
		switch body := a.Body.(type) {
		case *dnsmessage.AResource:
			found = append(found, netip.AddrFrom4(body.A).String())
		case *dnsmessage.AAAAResource:
			found = append(found, netip.AddrFrom16(body.AAAA).String())
		case *dnsmessage.PTRResource:
			found = append(found, body.PTR.String())
		}
	}
	code := strings.TrimPrefix(m.RCode.String(), "RCode")
	if m.Truncated {
		code = "Truncated"
	}
	return code, found
}

// nameServer answers every A with 198.51.100.7, "big.example" over UDP with a mark to come again, and nothing to
// "silent.example".
func nameServer(t *testing.T, ns *os.File) {
	t.Helper()
	var packets net.PacketConn
	var calls net.Listener
	err := within(ns, func() (err error) {
		if packets, err = net.ListenPacket("udp", outsideAddress+":53"); err != nil {
			return err
		}
		calls, err = net.Listen("tcp", outsideAddress+":53")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = packets.Close(); _ = calls.Close() })
	reply := func(packet []byte, over string) []byte {
		q, _, _ := parseQuestion(packet)
		switch {
		case q.Name.String() == "silent.example.":
			return nil
		case q.Name.String() == "big.example." && over == "udp":
			b := q.reply(dnsmessage.RCodeSuccess)
			b[2] |= 2
			return b
		}
		return q.addresses([]netip.Addr{netip.MustParseAddr("198.51.100.7")})
	}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			if b := reply(buf[:n], "udp"); b != nil {
				forged := append([]byte(nil), b...)
				binary.BigEndian.PutUint16(forged, binary.BigEndian.Uint16(b)+1)
				forged[len(forged)-1] ^= 0xff
				_, _ = packets.WriteTo(forged, from)
				_, _ = packets.WriteTo(b, from)
			}
		}
	}()
	go func() {
		for {
			c, err := calls.Accept()
			if err != nil {
				return
			}
			if packet, err := readFrame(c); err == nil {
				_ = writeFrame(c, reply(packet, "tcp"))
			}
			_ = c.Close()
		}
	}()
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	nameServer(t, w.outside)
	red := w.create(Network{Name: "red", IPv6: true})
	w.create(Network{Name: "blue"})
	w.create(Network{Name: "inner", Internal: true})
	r1 := w.box("0123456789abcdef", Endpoint{Network: "red", Names: []string{"web", "service"}})
	r2 := w.box("r2", Endpoint{Network: "red", Names: []string{"db", "service"}})
	b1 := w.box("b1", Endpoint{Network: "blue", Names: []string{"blue-one"}})
	i1 := w.box("i1", Endpoint{Network: "inner", Names: []string{"inner-one"}})
	both := w.box("x1", Endpoint{Network: "red", Names: []string{"both"}}, Endpoint{Network: "inner", Names: []string{"both"}, NoDefaultRoute: true})
	ip, ip6 := r1.at[0].IP.String(), r1.at[0].IP6.String()
	reverse := func(a netip.Addr) string {
		b := a.As4()
		return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0])
	}
	const a, aaaa, ptr = dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypePTR
	tests := []struct {
		from *box
		name string
		kind dnsmessage.Type
		code string
		want []string
	}{
		{r2, "web", a, "Success", []string{ip}},
		{r2, "WeB", a, "Success", []string{ip}},
		{r2, "web.red", a, "Success", []string{ip}},
		{r2, "0123456789ab", a, "Success", []string{ip}},
		{r2, "0123456789abcdef", a, "Success", []string{ip}},
		{r2, "web", aaaa, "Success", []string{ip6}},
		{r2, "web", dnsmessage.TypeMX, "Success", nil},
		{r1, "web", a, "Success", []string{ip}},
		{r2, reverse(r1.at[0].IP), ptr, "Success", []string{"web.red."}},
		{r2, reverse(netip.MustParseAddr("172.17.200.200")), ptr, "NameError", nil},
		{r2, "host.docker.internal", a, "Success", []string{red.Gateway.String()}},
		{r2, "host.tare.internal", aaaa, "Success", []string{red.Gateway6.String()}},
		{r2, "blue-one", a, "Success", []string{"198.51.100.7"}}, // not its network's: asked elsewhere
		{b1, "web", aaaa, "Success", []string{"198.51.100.7"}},
		{b1, "example.org", a, "Success", []string{"198.51.100.7"}},
		{b1, "big.example", a, "Truncated", nil},
		{i1, "inner-one", a, "Success", []string{i1.at[0].IP.String()}},
		{i1, "inner-one", aaaa, "Success", nil},
		{i1, "example.org", a, "NameError", nil},
		{i1, "both", a, "Success", []string{both.at[1].IP.String()}},
		{both, "inner-one", a, "Success", []string{i1.at[0].IP.String()}},
		{both, "web", a, "Success", []string{ip}},
		{both, "example.org", a, "Success", []string{"198.51.100.7"}},
	}
	for _, tt := range tests {
		for _, over := range []string{"udp", "tcp"} {
			if tt.code == "Truncated" && over == "tcp" {
				tt.code, tt.want = "Success", []string{"198.51.100.7"}
			}
			server := w.m.DNS(tt.from.id)[0]
			code, got := askName(t, tt.from.ns, over, server, tt.name, tt.kind)
			if code != tt.code || !slices.Equal(got, tt.want) {
				t.Errorf("%s asks %v for %s %v over %s: %s %v, want %s %v", tt.from.id, server, tt.name, tt.kind, over, code, got, tt.code, tt.want)
			}
		}
	}
	first := map[string]bool{}
	for range 4 {
		if _, got := askName(t, r1.ns, "udp", red.Gateway, "service", a); len(got) == 2 {
			first[got[0]] = true
		}
	}
	if len(first) != 2 {
		t.Errorf("service: first were %v, want each of two", first)
	}
	if code, _ := askName(t, w.host, "udp", red.Gateway, "web", a); code != "Refused" {
		t.Errorf("one who is no member: %s, want Refused", code)
	}
	w.must(w.m.Rename("0123456789abcdef", "red", []string{"www"}))
	if _, got := askName(t, r2.ns, "udp", red.Gateway, "www", a); !slices.Equal(got, []string{ip}) {
		t.Errorf("after Rename: %v", got)
	}
	w.must(w.m.Detach("0123456789abcdef", "red"))
	if _, got := askName(t, r2.ns, "udp", red.Gateway, "www", a); slices.Equal(got, []string{ip}) {
		t.Errorf("after Detach: still %v", got)
	}
}

// TestSilentServer bounds how long and how much a server that says nothing costs.
func TestSilentServer(t *testing.T) {
	w := newWorld(t)
	nameServer(t, w.outside)
	red := w.create(Network{Name: "red"})
	r1 := w.box("r1", Endpoint{Network: "red", Names: []string{"web"}})
	var c net.Conn
	w.must(within(r1.ns, func() (err error) {
		c, err = net.Dial("udp", netip.AddrPortFrom(red.Gateway, 53).String())
		return err
	}))
	defer c.Close()
	before := runtime.NumGoroutine()
	for i := range 2000 {
		_, _ = c.Write(pack(t, uint16(i), "silent.example", dnsmessage.TypeA))
	}
	// Names of members are answered in the midst of it.
	deadline := time.Now().Add(3 * time.Second)
	for {
		if _, got := askName(t, r1.ns, "tcp", red.Gateway, "web", dnsmessage.TypeA); len(got) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no answer under a flood")
		}
	}
	if now := runtime.NumGoroutine(); now > before+2*questions+conversations {
		t.Errorf("%d goroutines under a flood, %d before", now, before)
	}
	// The flood may still fill the socket, so a question is asked again as clients do.
	code := ""
	for range 3 {
		if code, _ = askName(t, r1.ns, "udp", red.Gateway, "silent.example", dnsmessage.TypeA); code == "ServerFailure" {
			return
		}
	}
	t.Errorf("silent server: %s, want ServerFailure", code)
}

func TestManyConversations(t *testing.T) {
	w := newWorld(t)
	red := w.create(Network{Name: "red"})
	r1 := w.box("r1", Endpoint{Network: "red", Names: []string{"web"}})
	before := runtime.NumGoroutine()
	for range 100 {
		_ = within(r1.ns, func() error {
			c, err := net.DialTimeout("tcp", netip.AddrPortFrom(red.Gateway, 53).String(), time.Second)
			if err == nil {
				t.Cleanup(func() { _ = c.Close() })
			}
			return err
		})
	}
	if now := runtime.NumGoroutine(); now > before+conversations+2 {
		t.Errorf("%d goroutines with 100 silent connections, %d before", now, before)
	}
	if code, _ := askName(t, r1.ns, "udp", red.Gateway, "web", dnsmessage.TypeA); code != "Success" {
		t.Errorf("over UDP beside them: %s", code)
	}
}

// TestPort53Taken has a program of the host's listen for names at all addresses, as dnsmasq does.
func TestPort53Taken(t *testing.T) {
	w := newWorld(t)
	w.must(within(w.host, func() error {
		l, err := net.Listen("tcp4", ":53")
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = l.Close() })
		p, err := net.ListenPacket("udp4", ":53")
		if err == nil {
			t.Cleanup(func() { _ = p.Close() })
		}
		return err
	}))
	for _, n := range []Network{{Name: "red"}, {Name: "inner", Internal: true}} {
		w.create(n)
		b := w.box(n.Name+"1", Endpoint{Network: n.Name, Names: []string{"web"}})
		for _, over := range []string{"udp", "tcp"} {
			if code, got := askName(t, b.ns, over, b.at[0].Gateway, "web", dnsmessage.TypeA); code != "Success" || len(got) != 1 {
				t.Errorf("%s over %s: %s %v", n.Name, over, code, got)
			}
		}
	}
}

func TestResolvIsReadWhenItChanges(t *testing.T) {
	path := t.TempDir() + "/resolv.conf"
	u := &upstream{path: path, avoid: map[netip.Addr]bool{netip.MustParseAddr("172.17.0.1"): true}}
	if got := u.servers(); len(got) != 0 {
		t.Errorf("without a file: %v", got)
	}
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# of a test\nsearch x\nnameserver 10.0.0.1\nnameserver bad\nnameserver 172.17.0.1\nnameserver fe80::1%eth0\n")
	if got := fmt.Sprint(u.servers()); got != "[10.0.0.1:53 [fe80::1%eth0]:53]" {
		t.Errorf("servers: %s", got)
	}
	write("nameserver 10.0.0.22\n")
	if got := fmt.Sprint(u.servers()); got != "[10.0.0.22:53]" {
		t.Errorf("servers after a change: %s", got)
	}
	write("")
	q, _, _ := parseQuestion(pack(t, 1, "x", dnsmessage.TypeA))
	if _, err := u.ask(context.Background(), q, nil, "udp"); !errors.Is(err, errNoServer) {
		t.Errorf("ask nobody: %v", err)
	}
}

// TestSocketsAreHandedOn: a question that comes while no engine is there is answered by the next one.
func TestSocketsAreHandedOn(t *testing.T) {
	w := newWorld(t)
	red := w.create(Network{Name: "red"})
	r1 := w.box("r1", Endpoint{Network: "red", Names: []string{"web"}})
	var kept []*os.File
	for _, f := range w.m.Files() {
		kept = append(kept, duplicate(t, f))
	}
	w.must(w.m.Close())
	var asked []net.Conn
	for _, over := range []string{"udp", "tcp"} {
		w.must(within(r1.ns, func() error {
			c, err := net.DialTimeout(over, netip.AddrPortFrom(red.Gateway, 53).String(), time.Second)
			if err == nil {
				asked = append(asked, c)
				t.Cleanup(func() { _ = c.Close() })
			}
			return err
		}))
	}
	packet := pack(t, 4711, "web", dnsmessage.TypeA)
	_, err := asked[0].Write(packet)
	w.must(errors.Join(err, writeFrame(asked[1], packet)))
	w.open(kept)
	w.must(w.m.Recover([]Network{red}, []string{"r1"}))
	for _, c := range asked {
		w.must(c.SetDeadline(time.Now().Add(5 * time.Second)))
	}
	buf := make([]byte, 4096)
	n, err := asked[0].Read(buf)
	w.must(err)
	framed, err := readFrame(asked[1])
	w.must(err)
	for _, answer := range [][]byte{buf[:n], framed} {
		if code, got := unpack(t, answer); code != "Success" || len(got) != 1 {
			t.Errorf("asked while nobody was there: %s %v", code, got)
		}
	}
}

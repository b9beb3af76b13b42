package network

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// sample is a record with a bit of everything.
func sample() *record {
	n := Network{ID: "0123456789", Name: "red", Driver: Bridge, Subnet: netip.MustParsePrefix("172.17.0.0/16"), Gateway: netip.MustParseAddr("172.17.0.1"), Options: map[string]string{"mtu": "1400"}}
	r := &record{Networks: []*netRecord{{Network: n}}}
	e := Endpoint{Container: "c1", Network: "red", Names: []string{"web"}, IP: netip.MustParseAddr("172.17.0.2"), MAC: "02:42:ac:11:00:02", Ports: []Port{{HostPort: 80, Port: 80, Proto: "tcp"}}}
	made := r.Networks[0].endpoint(e)
	made.Stage = attached
	r.Endpoints = append(r.Endpoints, made)
	return r
}

// FuzzQuestion: whatever a container sends gets no answer or one that can be read, and fits.
func FuzzQuestion(f *testing.F) {
	for _, name := range []string{"web", "web.red", "2.0.17.172.in-addr.arpa", "example.org", "host.docker.internal", strings.Repeat("a.", 120) + "b"} {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypePTR, dnsmessage.TypeALL} {
			f.Add(pack(f, 7, name, kind))
		}
	}
	f.Add([]byte{})
	d := newDirectory(sample())
	f.Fuzz(func(t *testing.T, packet []byte) {
		q, code, reply := parseQuestion(packet)
		if !reply {
			return
		}
		answer := q.reply(code)
		if code == dnsmessage.RCodeSuccess {
			var forward bool
			if answer, forward = d.answer(netip.MustParseAddr("172.17.0.2"), q); forward {
				answer = q.reply(dnsmessage.RCodeServerFailure)
			}
		}
		answer = q.truncate(answer)
		var m dnsmessage.Message
		if err := m.Unpack(answer); err != nil || !m.Response || m.ID != q.header.ID || len(answer) > q.size && q.size > 0 {
			t.Errorf("question %x: answer %x: %v", packet, answer, err)
		}
		if code == dnsmessage.RCodeSuccess && !q.answers(answer, q.header.ID) {
			t.Errorf("question %x: answer %x is not one to it", packet, answer)
		}
	})
}

// FuzzAnswer: what another server sends is one to the question, or is not.
func FuzzAnswer(f *testing.F) {
	question := pack(f, 7, "example.org", dnsmessage.TypeA)
	q, _, _ := parseQuestion(question)
	f.Add(q.addresses([]netip.Addr{netip.MustParseAddr("198.51.100.7")}))
	f.Add(q.reply(dnsmessage.RCodeRefused))
	f.Fuzz(func(t *testing.T, packet []byte) {
		if q.answers(packet, 7) && len(packet) < 12 {
			t.Errorf("%x is taken for an answer", packet)
		}
	})
}

func FuzzReverse(f *testing.F) {
	f.Add("4.3.2.1.in-addr.arpa")
	f.Add(strings.Repeat("f.", 31) + "0.ip6.arpa")
	f.Fuzz(func(t *testing.T, name string) {
		if a, ok := parseReverse(name); ok && !a.IsValid() {
			t.Errorf("parseReverse(%q) = %v", name, a)
		}
	})
}

// FuzzReply: what a kernel sends is read within its bounds.
func FuzzReply(f *testing.F) {
	m := request(unix.RTM_NEWLINK, 0, linkHeader(unix.AF_UNSPEC, 7, true))
	m.text(unix.IFLA_IFNAME, "eth0")
	m.nest(unix.IFLA_LINKINFO, func() { m.text(unix.IFLA_INFO_KIND, "veth") })
	f.Add(m.finish(1))
	f.Add(request(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, make([]byte, 20)).finish(1))
	f.Fuzz(func(_ *testing.T, b []byte) {
		for r := range replies(b) {
			_ = verdict(r)
			_, _ = parseLink(r.data)
			_, _ = parseRoute(r.data)
			_, _ = parseFlow(r.data)
			for kind, value := range attributes(r.data) {
				_ = text(attribute(value, kind))
			}
		}
	})
}

func FuzzRecord(f *testing.F) {
	text, err := json.Marshal(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"networks":[{"id":"01234567","name":"x","options":{"icc":"false"}}],"endpoints":[{"networkID":"01234567"}]}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		m := &Manager{families: []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6, unix.NFPROTO_BRIDGE}}
		if m.record.parse(b) != nil {
			return
		}
		newDirectory(&m.record) // and what is made of it
		for _, family := range m.families {
			if t := newTable(family, tableName); family == unix.NFPROTO_BRIDGE {
				portRules(t, m.views())
			} else {
				m.hostRules(t, m.views())
			}
		}
	})
}

func FuzzResolv(f *testing.F) {
	f.Add("nameserver 10.0.0.1\nnameserver fe80::1%eth0\n")
	f.Fuzz(func(t *testing.T, s string) {
		if list := parseResolv(strings.NewReader(s)); len(list) > maxServers {
			t.Errorf("%q: %v", s, list)
		}
	})
}

func FuzzSockets(f *testing.F) {
	f.Add("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"+
		"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1\n", uint16(8080))
	f.Fuzz(func(t *testing.T, s string, port uint16) {
		if inode := socketInode(strings.NewReader(s), port); inode != "" && !slices.Contains(strings.Fields(s), inode) {
			t.Errorf("inode %q", inode)
		}
	})
}

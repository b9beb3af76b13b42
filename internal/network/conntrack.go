package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Types and attributes of linux/netfilter/nfnetlink_conntrack.h.
const (
	conntrackGet    = 1 // IPCTNL_MSG_CT_GET
	conntrackDelete = 2 // IPCTNL_MSG_CT_DELETE

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3 // big endian
	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIP4Source  = 1
	ctaIP6Source  = 3
	ctaProtoNum   = 1
	ctaProtoDst   = 3 // big endian

	statusAnswered = 1 << 1 // IPS_SEEN_REPLY
)

// flow is what the kernel remembers of packets that belong together.
type flow struct {
	family   byte
	original []byte     // the tuple, as it came
	target   netip.Addr // who answers, after translation
	proto    byte
	port     uint16 // asked for, before translation
	answered bool
}

// parseFlow reads a message about a flow.
func parseFlow(b []byte) (flow, bool) {
	if len(b) < 4 {
		return flow{}, false
	}
	f := flow{family: b[0]}
	f.original = append([]byte(nil), attribute(b[4:], ctaTupleOrig)...)
	proto := attribute(f.original, ctaTupleProto)
	number, port := attribute(proto, ctaProtoNum), attribute(proto, ctaProtoDst)
	if len(number) != 1 || len(port) != 2 {
		return flow{}, false
	}
	if status := attribute(b[4:], ctaStatus); len(status) == 4 {
		f.answered = binary.BigEndian.Uint32(status)&statusAnswered != 0
	}
	f.proto, f.port = number[0], binary.BigEndian.Uint16(port)
	source := uint16(ctaIP4Source)
	if f.family == unix.AF_INET6 {
		source = ctaIP6Source
	}
	reply := attribute(attribute(b[4:], ctaTupleReply), ctaTupleIP)
	var ok bool
	f.target, ok = netip.AddrFromSlice(attribute(reply, source))
	return f, ok
}

// forgetFlows makes the kernel forget the UDP flows that belong to an endpoint's published ports, or
// go past them: a client that goes on sending from one port would reach who had the port before, as
// long as it does not pause. A kernel without the list of flows (CONFIG_NF_CT_NETLINK) keeps them.
func (m *Manager) forgetFlows(e *endpointRecord) error {
	ports := map[uint16]bool{}
	for _, p := range e.Ports {
		if p.Proto == "udp" {
			ports[p.HostPort] = true
		}
	}
	if len(ports) == 0 {
		return nil
	}
	s, err := m.netfilter()
	if err != nil {
		return err
	}
	var stale []flow
	list := request(unix.NFNL_SUBSYS_CTNETLINK<<8|conntrackGet, unix.NLM_F_DUMP, []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0})
	err = s.dump(list, func() { stale = nil }, func(r reply) {
		f, ok := parseFlow(r.data)
		if ok && f.proto == unix.IPPROTO_UDP && ports[f.port] && (!f.answered || f.target == e.IP || f.target == e.IP6) {
			stale = append(stale, f)
		}
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	for _, f := range stale {
		d := request(unix.NFNL_SUBSYS_CTNETLINK<<8|conntrackDelete, 0, []byte{f.family, unix.NFNETLINK_V0, 0, 0})
		d.bytes(ctaTupleOrig|unix.NLA_F_NESTED, f.original)
		if e := s.do(d); !errors.Is(e, unix.ENOENT) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return fmt.Errorf("forget flows of published ports: %w", err)
	}
	return nil
}

package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// addAddress gives an interface an address. One of IPv6 counts at once, without a search for others
// that have it: who has which is our own record. With apart, no route to the prefix comes with it.
func (s *socket) addAddress(index int, p netip.Prefix, apart bool) error {
	m := request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, addressHeader(index, p))
	m.address(unix.IFA_LOCAL, p.Addr())
	m.address(unix.IFA_ADDRESS, p.Addr())
	if p.Addr().Is4() && p.Bits() < 31 {
		m.address(unix.IFA_BROADCAST, broadcast(p))
	}
	flags := uint32(0)
	if p.Addr().Is6() {
		flags |= unix.IFA_F_NODAD
	}
	if apart {
		flags |= unix.IFA_F_NOPREFIXROUTE
	}
	if flags != 0 {
		m.uint32(unix.IFA_FLAGS, flags)
	}
	if err := s.do(m); err != nil {
		return fmt.Errorf("add address %v: %w", p, err)
	}
	return nil
}

// addressHeader is struct ifaddrmsg.
func addressHeader(index int, p netip.Prefix) []byte {
	h := make([]byte, unix.SizeofIfAddrmsg)
	h[0], h[1] = family(p.Addr()), byte(p.Bits())
	binary.NativeEndian.PutUint32(h[4:], uint32(index))
	return h
}

func broadcast(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	n := binary.BigEndian.Uint32(a[:]) | (1<<(32-p.Bits()) - 1)
	binary.BigEndian.PutUint32(a[:], n)
	return netip.AddrFrom4(a)
}

// route is a way to a destination by a gateway, or directly when there is none.
type route struct {
	to  netip.Prefix
	via netip.Addr
	out int
}

func (s *socket) addRoute(r route) error {
	h := make([]byte, unix.SizeofRtMsg)
	h[0], h[1] = family(r.to.Addr()), byte(r.to.Bits())
	h[4], h[5], h[7] = unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RTN_UNICAST
	if !r.via.IsValid() {
		h[6] = unix.RT_SCOPE_LINK
	}
	m := request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, h)
	if r.to.Bits() > 0 {
		m.address(unix.RTA_DST, r.to.Masked().Addr())
	}
	if r.via.IsValid() {
		m.address(unix.RTA_GATEWAY, r.via)
	}
	m.uint32(unix.RTA_OIF, uint32(r.out))
	if err := s.do(m); err != nil {
		return fmt.Errorf("add route to %v: %w", r.to, err)
	}
	return nil
}

// routes lists where the host sends packets to, without its defaults.
func (s *socket) routes() ([]route, error) {
	var all []route
	for _, f := range []byte{unix.AF_INET, unix.AF_INET6} {
		h := make([]byte, unix.SizeofRtMsg)
		h[0] = f
		before := len(all)
		err := s.dump(request(unix.RTM_GETROUTE, unix.NLM_F_DUMP, h), func() { all = all[:before] }, func(r reply) {
			if to, ok := parseRoute(r.data); ok {
				all = append(all, to)
			}
		})
		if f == unix.AF_INET6 && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)) {
			return all, nil // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
	}
	return all, nil
}

// parseRoute reads struct rtmsg and what follows; false for a default route, and for those of
// broadcasts and multicasts, which take no address away.
func parseRoute(b []byte) (route, bool) {
	if len(b) < unix.SizeofRtMsg || b[1] == 0 {
		return route{}, false
	}
	switch b[7] {
	case unix.RTN_UNICAST, unix.RTN_LOCAL, unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT:
	default:
		return route{}, false
	}
	a, ok := netip.AddrFromSlice(attribute(b[unix.SizeofRtMsg:], unix.RTA_DST))
	if !ok {
		return route{}, false
	}
	r := route{to: netip.PrefixFrom(a, int(b[1]))}
	if value := attribute(b[unix.SizeofRtMsg:], unix.RTA_OIF); len(value) == 4 {
		r.out = int(binary.NativeEndian.Uint32(value))
	}
	return r, r.to.IsValid()
}

package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Port publishes a port of a container on the host.
type Port struct {
	HostIP netip.Addr `json:"hostIP,omitzero"` // zero: all addresses of the host; 0.0.0.0 and [::]: all of one family
	// HostPort is 0 for any that is free. With HostEnd it is the first of a range, of which the first
	// free one is taken.
	HostPort uint16 `json:"hostPort"`
	HostEnd  uint16 `json:"hostEnd,omitempty"`
	Port     uint16 `json:"port"`  // the container's
	Proto    string `json:"proto"` // "tcp" ("" too) or "udp"
}

// PortError tells that a port of the host is taken.
type PortError struct {
	Port
	Holder string // who has it, as far as known: "container abc", "process 12 (nginx)", or ""
	Err    error
}

func (e *PortError) Error() string {
	host := "all addresses"
	if e.HostIP.IsValid() {
		host = e.HostIP.String()
	}
	text := fmt.Sprintf("publish port %d/%s on %s: %v", e.HostPort, e.Proto, host, e.Err)
	if e.Holder != "" {
		text += ": held by " + e.Holder
	}
	return text
}

func (e *PortError) Unwrap() error { return e.Err }

func (p *Port) check(s settings) error {
	if p.Proto == "" {
		p.Proto = "tcp"
	}
	if p.HostIP.IsValid() {
		p.HostIP = p.HostIP.Unmap().WithZone("")
	}
	if !p.HostIP.IsValid() {
		p.HostIP = s.binding
	}
	switch {
	case p.Proto != "tcp" && p.Proto != "udp":
		return fmt.Errorf("publish port %d: %w protocol %q: only tcp and udp", p.Port, ErrInvalid, p.Proto)
	case p.Port == 0:
		return fmt.Errorf("publish port %d: %w", p.Port, ErrInvalid)
	case p.HostEnd != 0 && p.HostEnd < p.HostPort:
		return fmt.Errorf("publish ports %d-%d: %w range", p.HostPort, p.HostEnd, ErrInvalid)
	}
	return nil
}

// number of the protocol in an IP header.
func (p *Port) number() byte {
	if p.Proto == "udp" {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// claim holds a port of the host with sockets that are bound and never used: packets for it are
// rewritten before they could reach them. So no other program takes the port, or finds out too late
// that it gets nothing.
type claim struct{ fds []int }

func (c *claim) release() {
	for _, fd := range c.fds {
		_ = unix.Close(fd)
	}
	c.fds = nil
}

// bindings are the addresses that a port is claimed at.
func (p *Port) bindings() []netip.Addr {
	if p.HostIP.IsValid() {
		return []netip.Addr{p.HostIP}
	}
	return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
}

// claim takes the port, or the first free one of its range, and fills in which. taken tells of those
// that other containers have: Linux 5.10 lets a port be bound twice in some cases.
func (p *Port) claim(netns *os.File, taken func(uint16) bool) (*claim, error) {
	last := max(p.HostPort, p.HostEnd)
	for port := p.HostPort; ; port++ {
		var c *claim
		got, err := port, error(unix.EADDRINUSE)
		if !taken(port) {
			c, got, err = p.claimAt(netns, port)
		}
		if err == nil {
			p.HostPort, p.HostEnd = got, 0
			return c, nil
		}
		if port == last || !errors.Is(err, unix.EADDRINUSE) {
			failed := *p
			failed.HostPort = port
			return nil, &PortError{Port: failed, Err: err}
		}
	}
}

// claimAt claims one port at all its addresses. For port 0 the kernel's choice at the first address
// is what is claimed at the second, and another choice is made when that one is taken there.
func (p *Port) claimAt(netns *os.File, port uint16) (*claim, uint16, error) {
	var c *claim
	var got uint16
	err := within(netns, func() (err error) {
		for range 16 {
			c, got, err = p.bindAll(port)
			if err == nil || port != 0 || !errors.Is(err, unix.EADDRINUSE) {
				return err
			}
		}
		return err
	})
	return c, got, err
}

func (p *Port) bindAll(port uint16) (*claim, uint16, error) {
	c := &claim{}
	for i, address := range p.bindings() {
		fd, got, err := bind(netip.AddrPortFrom(address, port), p.Proto)
		if i > 0 && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)) {
			continue // no IPv6
		}
		if err != nil {
			c.release()
			return nil, port, err
		}
		c.fds = append(c.fds, fd)
		port = got
	}
	return c, port, nil
}

// bind makes a socket that is bound, and tells its port.
func bind(at netip.AddrPort, proto string) (int, uint16, error) {
	kind := unix.SOCK_STREAM
	if proto == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(int(family(at.Addr())), kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, os.NewSyscallError("socket", err)
	}
	port, err := bindSocket(fd, at, kind)
	if err != nil {
		_ = unix.Close(fd)
		return 0, 0, err
	}
	return fd, port, nil
}

func bindSocket(fd int, at netip.AddrPort, kind int) (uint16, error) {
	// A device publishes at an address before it has got it: the option lets it, for IPv6 too.
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
	if at.Addr().Is6() {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
		// Linux 4.15; before, the option of IPv4 counted for both.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
	}
	if err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	err = unix.Bind(fd, sockaddr(at))
	// TCP connections of the past keep their port for a minute, and are no reason to refuse it. The
	// option is for the call alone: with it, the port could be bound a second time.
	if kind == unix.SOCK_STREAM && err == unix.EADDRINUSE {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		err = unix.Bind(fd, sockaddr(at))
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
	}
	if err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	return addrPort(name).Port(), nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

func addrPort(s unix.Sockaddr) netip.AddrPort {
	switch s := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(s.Addr), uint16(s.Port))
	}
	return netip.AddrPort{}
}

// overlaps tells if two ports cannot both be published, whatever their numbers are.
func (p *Port) overlaps(o *Port) bool {
	a, b := p.HostIP, o.HostIP
	switch {
	case p.Proto != o.Proto:
		return false
	case !a.IsValid(), !b.IsValid(), a == b:
		return true
	}
	return a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
}

// publisher is the endpoint that has a port of the host at an address of p's, or nil.
func (m *Manager) publisher(p *Port, port uint16, asks *endpointRecord) *endpointRecord {
	for _, e := range m.record.Endpoints {
		if e == asks || e.Stage == kept {
			continue
		}
		for i := range e.Ports {
			if e.Ports[i].HostPort == port && e.Ports[i].overlaps(p) {
				return e
			}
		}
	}
	return nil
}

// claimPort claims one port of an endpoint's.
func (m *Manager) claimPort(e *endpointRecord, p *Port) (*claim, error) {
	c, err := p.claim(m.netns, func(port uint16) bool { return port != 0 && m.publisher(p, port, e) != nil })
	var refused *PortError
	if errors.As(err, &refused) && errors.Is(err, unix.EADDRINUSE) {
		refused.Holder = m.holder(refused.Port, e)
	}
	return c, err
}

// claimAll claims all of an endpoint's ports, or none.
func (m *Manager) claimAll(e *endpointRecord) ([]*claim, error) {
	var claims []*claim
	for i := range e.Ports {
		c, err := m.claimPort(e, &e.Ports[i])
		if err != nil {
			release(claims)
			return nil, err
		}
		claims = append(claims, c)
	}
	return claims, nil
}

func release(claims []*claim) {
	for _, c := range claims {
		c.release()
	}
}

// holder is who has a port of the host.
func (m *Manager) holder(p Port, asks *endpointRecord) string {
	if e := m.publisher(&p, p.HostPort, asks); e != nil {
		return "container " + e.display()
	}
	name := ""
	_ = within(m.netns, func() error {
		name = socketHolder(p)
		return nil
	})
	return name
}

// display names a container for a person.
func (e *endpointRecord) display() string {
	if len(e.Names) > 0 {
		return e.Names[0]
	}
	return short(e.Container)
}

func short(id string) string { return id[:min(12, len(id))] }

package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// link is an interface as the kernel lists it.
type link struct {
	index int
	name  string
	group uint32
	state byte // of RFC 2863
}

const operational = 6 // IF_OPER_UP of linux/if.h

// linkHeader is struct ifinfomsg.
func linkHeader(family byte, index int, up bool) []byte {
	h := make([]byte, unix.SizeofIfInfomsg)
	h[0] = family
	binary.NativeEndian.PutUint32(h[4:], uint32(index))
	if up {
		binary.NativeEndian.PutUint32(h[8:], unix.IFF_UP)
		binary.NativeEndian.PutUint32(h[12:], unix.IFF_UP)
	}
	return h
}

func parseLink(b []byte) (link, bool) {
	if len(b) < unix.SizeofIfInfomsg {
		return link{}, false
	}
	l := link{index: int(int32(binary.NativeEndian.Uint32(b[4:])))}
	for kind, value := range attributes(b[unix.SizeofIfInfomsg:]) {
		switch {
		case kind == unix.IFLA_IFNAME:
			l.name = text(value)
		case kind == unix.IFLA_OPERSTATE && len(value) == 1:
			l.state = value[0]
		case kind == unix.IFLA_GROUP && len(value) == 4:
			l.group = binary.NativeEndian.Uint32(value)
		}
	}
	return l, true
}

// links lists all interfaces of the socket's namespace.
func (s *socket) links() ([]link, error) {
	var all []link
	err := s.dump(request(unix.RTM_GETLINK, unix.NLM_F_DUMP, linkHeader(unix.AF_UNSPEC, 0, false)), func() { all = nil }, func(r reply) {
		if l, ok := parseLink(r.data); ok && r.kind == unix.RTM_NEWLINK {
			all = append(all, l)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	return all, nil
}

// dump asks for a list again when it changed while it was read; again forgets what was read of it.
func (s *socket) dump(m *message, again func(), each func(reply)) error {
	for range 20 {
		err := s.ask(m, each)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
		again()
	}
	return unix.EINTR
}

// link finds an interface by name; os.ErrNotExist when there is none.
func (s *socket) link(name string) (link, error) {
	m := request(unix.RTM_GETLINK, 0, linkHeader(unix.AF_UNSPEC, 0, false))
	m.text(unix.IFLA_IFNAME, name)
	var found link
	err := s.ask(m, func(r reply) {
		if l, ok := parseLink(r.data); ok {
			found = l
		}
	})
	if errors.Is(err, unix.ENODEV) {
		return link{}, fmt.Errorf("interface %s: %w", name, os.ErrNotExist)
	}
	if err != nil {
		return link{}, fmt.Errorf("find interface %s: %w", name, err)
	}
	return found, nil
}

// addBridge makes a bridge that is down. Its own MAC keeps it from taking on those of its ports one
// after the other, which would leave wrong ones in the containers' neighbour tables.
func (s *socket) addBridge(name string, group uint32, mac net.HardwareAddr, mtu int) error {
	m := request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, linkHeader(unix.AF_UNSPEC, 0, false))
	m.text(unix.IFLA_IFNAME, name)
	m.uint32(unix.IFLA_GROUP, group)
	m.bytes(unix.IFLA_ADDRESS, mac)
	if mtu != 0 {
		m.uint32(unix.IFLA_MTU, uint32(mtu))
	}
	m.nest(unix.IFLA_LINKINFO, func() { m.text(unix.IFLA_INFO_KIND, "bridge") })
	if err := s.do(m); err != nil {
		return fmt.Errorf("make bridge %s: %w", name, err)
	}
	return nil
}

// pair is a veth pair: one end is a port of a bridge, the other is in a container from its first moment.
type pair struct {
	host, container string
	group           uint32
	bridge          int
	netns           *os.File
	mac             net.HardwareAddr
	mtu             int
}

// addPair makes a pair in one call: neither end exists without the other, and none is ever where it
// does not belong. The container's end is down.
func (s *socket) addPair(p pair) error {
	m := request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, linkHeader(unix.AF_UNSPEC, 0, false))
	m.text(unix.IFLA_IFNAME, p.host)
	m.uint32(unix.IFLA_GROUP, p.group)
	m.uint32(unix.IFLA_MASTER, uint32(p.bridge))
	if p.mtu != 0 {
		m.uint32(unix.IFLA_MTU, uint32(p.mtu))
	}
	peer := func() {
		m.buf = append(m.buf, linkHeader(unix.AF_UNSPEC, 0, false)...)
		m.text(unix.IFLA_IFNAME, p.container)
		m.bytes(unix.IFLA_ADDRESS, p.mac)
		m.uint32(unix.IFLA_NET_NS_FD, uint32(p.netns.Fd()))
		if p.mtu != 0 {
			m.uint32(unix.IFLA_MTU, uint32(p.mtu))
		}
	}
	m.nest(unix.IFLA_LINKINFO, func() {
		m.text(unix.IFLA_INFO_KIND, "veth")
		m.nest(unix.IFLA_INFO_DATA, func() { m.nest(vethPeer, peer) })
	})
	if err := s.do(m); err != nil {
		return fmt.Errorf("make veth %s with %s in the container: %w", p.host, p.container, err)
	}
	return nil
}

// vethPeer is VETH_INFO_PEER of linux/veth.h, macvlanBridge MACVLAN_MODE_BRIDGE of linux/if_link.h.
const (
	vethPeer      = 1
	macvlanBridge = 4
)

// addMacvlan makes a macvlan interface of a parent in the container.
func (s *socket) addMacvlan(parent int, p pair) error {
	m := request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, linkHeader(unix.AF_UNSPEC, 0, false))
	m.text(unix.IFLA_IFNAME, p.container)
	m.bytes(unix.IFLA_ADDRESS, p.mac)
	m.uint32(unix.IFLA_LINK, uint32(parent))
	m.uint32(unix.IFLA_NET_NS_FD, uint32(p.netns.Fd()))
	if p.mtu != 0 {
		m.uint32(unix.IFLA_MTU, uint32(p.mtu))
	}
	m.nest(unix.IFLA_LINKINFO, func() {
		m.text(unix.IFLA_INFO_KIND, "macvlan")
		m.nest(unix.IFLA_INFO_DATA, func() { m.uint32(unix.IFLA_MACVLAN_MODE, macvlanBridge) })
	})
	if err := s.do(m); err != nil {
		return fmt.Errorf("make macvlan %s in the container: %w", p.container, err)
	}
	return nil
}

// hairpin lets a port of a bridge be sent what came from it.
func (s *socket) hairpin(index int) error {
	m := request(unix.RTM_SETLINK, 0, linkHeader(unix.AF_BRIDGE, index, false))
	m.nest(unix.IFLA_PROTINFO, func() { m.uint8(unix.IFLA_BRPORT_MODE, 1) })
	if err := s.do(m); err != nil {
		return fmt.Errorf("set hairpin mode of port of bridge: %w", err)
	}
	return nil
}

// isolate keeps a port of a bridge from sending to other isolated ports. A kernel before 4.18 takes the
// wish and does nothing, so it is asked what it has.
func (s *socket) isolate(index int) error {
	m := request(unix.RTM_SETLINK, 0, linkHeader(unix.AF_BRIDGE, index, false))
	m.nest(unix.IFLA_PROTINFO, func() { m.uint8(unix.IFLA_BRPORT_ISOLATED, 1) })
	if err := s.do(m); err != nil {
		return fmt.Errorf("isolate port of bridge: %w", err)
	}
	isolated := false
	err := s.ask(request(unix.RTM_GETLINK, 0, linkHeader(unix.AF_UNSPEC, index, false)), func(r reply) {
		if len(r.data) < unix.SizeofIfInfomsg {
			return
		}
		info := attribute(r.data[unix.SizeofIfInfomsg:], unix.IFLA_LINKINFO)
		value := attribute(attribute(info, unix.IFLA_INFO_SLAVE_DATA), unix.IFLA_BRPORT_ISOLATED)
		isolated = len(value) == 1 && value[0] == 1
	})
	if err == nil && !isolated {
		err = errors.New("the kernel cannot (Linux 4.18 can): option icc=false is not to be had")
	}
	if err != nil {
		return fmt.Errorf("isolate port of bridge: %w", err)
	}
	return nil
}

func (s *socket) up(index int) error { return s.setUp(index, true) }

func (s *socket) setUp(index int, up bool) error {
	h := linkHeader(unix.AF_UNSPEC, index, up)
	binary.NativeEndian.PutUint32(h[12:], unix.IFF_UP) // what is to change
	if err := s.do(request(unix.RTM_NEWLINK, 0, h)); err != nil {
		return fmt.Errorf("set interface up or down: %w", err)
	}
	return nil
}

func (s *socket) rename(index int, name string) error {
	m := request(unix.RTM_NEWLINK, 0, linkHeader(unix.AF_UNSPEC, index, false))
	m.text(unix.IFLA_IFNAME, name)
	if err := s.do(m); err != nil {
		return fmt.Errorf("name interface %s: %w", name, err)
	}
	return nil
}

// deleteLink removes an interface, a veth together with its other end. One that is gone is no error.
func (s *socket) deleteLink(name string) error {
	m := request(unix.RTM_DELLINK, 0, linkHeader(unix.AF_UNSPEC, 0, false))
	m.text(unix.IFLA_IFNAME, name)
	if err := s.do(m); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove interface %s: %w", name, err)
	}
	return nil
}

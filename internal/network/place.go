package network

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// loopback sets a namespace's lo up.
func loopback(netns *os.File) error {
	s, err := dialIn(netns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer s.close()
	return s.up(1) // lo is the first interface of every namespace
}

// freeName is the first of eth0, eth1, … that a namespace does not have.
func freeName(netns *os.File) (string, error) {
	s, err := dialIn(netns, unix.NETLINK_ROUTE)
	if err != nil {
		return "", err
	}
	defer s.close()
	links, err := s.links()
	if err != nil {
		return "", err
	}
	for i := 0; ; i++ {
		name := "eth" + strconv.Itoa(i)
		if !slices.ContainsFunc(links, func(l link) bool { return l.name == name }) {
			return name, nil
		}
	}
}

// renameIn gives an interface of a container's another name.
func renameIn(netns *os.File, from, to string) error {
	s, err := dialIn(netns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer s.close()
	l, err := s.link(from)
	if err != nil {
		return err
	}
	if err := s.rename(l.index, to); err != nil {
		return errors.Join(err, s.deleteLink(from))
	}
	return nil
}

// configure gives the container's interface its addresses and the container its routes.
func configure(netns *os.File, n *netRecord, set settings, r *endpointRecord) error {
	var s *socket
	err := within(netns, func() (err error) {
		if s, err = dial(unix.NETLINK_ROUTE); err == nil {
			err = setIPv6(r.Interface, n.IPv6)
		}
		return err
	})
	if s != nil {
		defer s.close()
	}
	if err != nil {
		return err
	}
	l, err := s.link(r.Interface)
	if err != nil {
		return err
	}
	if err := errors.Join(s.up(1), s.up(l.index)); err != nil {
		return err
	}
	places := []place{{r.Prefix, n.Gateway}}
	if n.IPv6 {
		places = append(places, place{r.Prefix6, n.Gateway6})
	}
	for _, p := range places {
		if err := p.settle(s, l.index, set.apart, !n.Internal && !r.NoDefaultRoute); err != nil {
			return err
		}
	}
	_, err = s.link(r.Interface) // makes it ready, as wake does
	return err
}

// place is an address in a subnet with its gateway.
type place struct {
	address netip.Prefix
	gateway netip.Addr
}

// settle gives an interface its place. Where members are kept apart, the rest of the subnet is behind
// the gateway: the host passes on what a link allows.
func (p place) settle(s *socket, index int, apart, outside bool) error {
	if err := s.addAddress(index, p.address, apart); err != nil {
		return err
	}
	if apart {
		if err := s.addRoute(route{to: single(p.gateway), out: index}); err != nil {
			return err
		}
		if err := s.addRoute(route{to: p.address.Masked(), via: p.gateway, out: index}); err != nil {
			return err
		}
	}
	if !outside || !p.gateway.IsValid() {
		return nil
	}
	everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if p.gateway.Is6() {
		everywhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return s.addRoute(route{to: everywhere, via: p.gateway, out: index})
}

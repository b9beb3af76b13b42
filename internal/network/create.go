package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Create makes a network, with the addresses chosen that n does not give, and returns it with them. A
// network that is there with the same id and the same wishes is returned as it is.
func (m *Manager) Create(n Network) (Network, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := n.check(); err != nil {
		return Network{}, err
	}
	r, err := m.create(n)
	if err != nil {
		return Network{}, fmt.Errorf("create network %s: %w", n.Name, err)
	}
	return r.Network, nil
}

func (m *Manager) create(n Network) (*netRecord, error) {
	for _, other := range m.record.Networks {
		switch {
		case other.ID == n.ID && other.fulfils(n):
			return other, m.raise(other)
		case other.ID == n.ID, other.Name == n.Name:
			return nil, fmt.Errorf("%s: %w", other.Name, ErrExists)
		}
	}
	r := &netRecord{Network: n}
	if err := m.choose(r); err != nil {
		return nil, err
	}
	if err := m.differs(r); err != nil {
		return nil, err
	}
	m.record.Networks = append(m.record.Networks, r)
	err := m.save()
	if err == nil {
		err = m.raise(r)
	}
	if err != nil {
		return nil, errors.Join(err, m.drop(r))
	}
	return r, nil
}

// fulfils tells if a network that is there has what a wish says.
func (r *netRecord) fulfils(n Network) bool {
	return r.Driver == n.Driver && r.Name == n.Name && r.Internal == n.Internal && r.IPv6 == n.IPv6 &&
		maps.Equal(r.Options, n.Options) && slices.Equal(r.Links, n.Links) && r.Range == n.Range &&
		(!n.Subnet.IsValid() || n.Subnet == r.Subnet) && (!n.Gateway.IsValid() || n.Gateway == r.Gateway) &&
		(!n.Subnet6.IsValid() || n.Subnet6 == r.Subnet6) && (!n.Gateway6.IsValid() || n.Gateway6 == r.Gateway6)
}

// differs refuses a bridge that another network has.
func (m *Manager) differs(n *netRecord) error {
	mine, err := n.settings()
	if err != nil || n.Driver != Bridge {
		return err
	}
	for _, v := range m.views() {
		if v.bridge == mine.bridge {
			return fmt.Errorf("bridge %s of network %s: %w", v.bridge, v.Name, ErrExists)
		}
	}
	return nil
}

// choose fills in subnets and gateways.
func (m *Manager) choose(n *netRecord) error {
	switch n.Driver {
	case Host, None:
		return nil
	case Macvlan: // its addresses are those of a network that is there
		if !n.Subnet.IsValid() {
			return fmt.Errorf("%w subnet: that of the interface's network is needed", ErrInvalid)
		}
		return nil
	}
	if len(m.families) == 0 {
		return ErrNoNetfilter
	}
	taken, err := m.takenSubnets()
	if err != nil {
		return err
	}
	if !n.Subnet.IsValid() {
		if n.Subnet, err = subnet(m.pools, taken); err != nil {
			return err
		}
	} else if other, hit := overlap(n.Subnet, taken); hit {
		return fmt.Errorf("subnet %v overlaps %v, which a network or a route of the host has: %w", n.Subnet, other, ErrInUse)
	}
	if !n.Gateway.IsValid() {
		n.Gateway = n.Subnet.Addr().Next()
	}
	if reserved(n.Subnet, n.Gateway) {
		return fmt.Errorf("%w gateway %v", ErrInvalid, n.Gateway)
	}
	if !n.IPv6 {
		return nil
	}
	if !slices.Contains(m.families, unix.NFPROTO_IPV6) {
		return errors.New("the kernel has no IPv6, or no nf_tables for it (CONFIG_NF_TABLES_IPV6)")
	}
	if !n.Subnet6.IsValid() {
		n.Subnet6 = subnet6(n.ID)
	}
	if other, hit := overlap(n.Subnet6, taken); hit {
		return fmt.Errorf("subnet %v overlaps %v: %w", n.Subnet6, other, ErrInUse)
	}
	if !n.Gateway6.IsValid() {
		n.Gateway6 = n.Subnet6.Addr().Next()
	}
	return nil
}

// takenSubnets are those of other networks, of the host's routes and of whom it asks for names.
func (m *Manager) takenSubnets() ([]netip.Prefix, error) {
	s, err := dialIn(m.netns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer s.close()
	routes, err := s.routes()
	if err != nil {
		return nil, err
	}
	var taken []netip.Prefix
	for _, r := range routes {
		taken = append(taken, r.to)
	}
	for _, n := range m.record.Networks {
		for _, p := range []netip.Prefix{n.Subnet, n.Subnet6} {
			if p.IsValid() {
				taken = append(taken, p)
			}
		}
	}
	for _, server := range m.resolver.upstream.servers() {
		taken = append(taken, single(server.Addr()))
	}
	return taken, nil
}

// raise makes a network in the kernel, or as much of it as is not there.
func (m *Manager) raise(n *netRecord) error {
	if n.Driver != Bridge {
		return nil
	}
	set, err := n.settings()
	if err != nil {
		return err
	}
	s, err := dialIn(m.netns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer s.close()
	if err := m.raiseBridge(s, n, set); err != nil {
		return err
	}
	if !n.Internal || set.apart {
		if err := m.open(n.IPv6); err != nil {
			return err
		}
	}
	if err := m.resolver.serve(n); err != nil {
		return err
	}
	if err := m.save(); err != nil { // the resolver's port
		return err
	}
	m.tell()
	return m.applyRules()
}

func (m *Manager) raiseBridge(s *socket, n *netRecord, set settings) error {
	err := s.addBridge(set.bridge, m.group, macOf(n.Gateway), set.mtu)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	l, err := s.link(set.bridge)
	if err != nil {
		return err
	}
	if l.group != m.group {
		return fmt.Errorf("interface %s is not ours: %w", set.bridge, ErrExists)
	}
	err = within(m.netns, func() error {
		err := sysctl("ipv4/conf/"+set.bridge+"/route_localnet", "1")
		if err == nil {
			err = setIPv6(set.bridge, n.IPv6)
		}
		return err
	})
	if err != nil {
		return err
	}
	return raiseAddresses(s, n, l.index)
}

func raiseAddresses(s *socket, n *netRecord, bridge int) error {
	if err := s.addAddress(bridge, netip.PrefixFrom(n.Gateway, n.Subnet.Bits()), false); err != nil {
		return err
	}
	if n.IPv6 {
		if err := s.addAddress(bridge, netip.PrefixFrom(n.Gateway6, n.Subnet6.Bits()), false); err != nil {
			return err
		}
	}
	return s.setUp(bridge, true)
}

// wake makes sure that packets pass from now on. A bridge that gets its first port tells so to a
// worker of the kernel that may take a second to let it send; until then all is dropped, and who asked for a
// name waits for five. Linux 6.8 does that worker's work when it is asked for the interface. Before,
// a bridge that goes up with its port there is ready at once.
func (m *Manager) wake(s *socket, n *netRecord, veth string) error {
	set, err := n.settings()
	if err != nil {
		return err
	}
	if _, err := s.link(veth); err != nil {
		return err
	}
	bridge, err := s.link(set.bridge)
	if err != nil || bridge.state == operational {
		return err
	}
	return bounce(s, n, bridge.index)
}

// bounce sets a bridge down and up. It loses its IPv6 addresses with that.
func bounce(s *socket, n *netRecord, bridge int) error {
	if err := s.setUp(bridge, false); err != nil {
		return err
	}
	if err := s.setUp(bridge, true); err != nil {
		return err
	}
	return raiseAddresses(s, n, bridge)
}

// Remove takes a network away that nothing is attached to. Addresses kept in it are given back.
func (m *Manager) Remove(nameOrID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.record.network(nameOrID)
	if n == nil {
		return fmt.Errorf("remove network %s: %w", nameOrID, ErrNotFound)
	}
	for _, e := range m.record.Endpoints {
		if e.NetworkID == n.ID && e.Stage != kept {
			return fmt.Errorf("remove network %s: %w: %s is attached", n.Name, ErrInUse, e.display())
		}
	}
	if err := m.drop(n); err != nil {
		return fmt.Errorf("remove network %s: %w", n.Name, err)
	}
	return nil
}

// drop undoes raise and choose: the record is the last to go.
func (m *Manager) drop(n *netRecord) error {
	if n.Driver == Bridge {
		m.resolver.leave(n.ID)
		if err := m.dropBridge(n); err != nil {
			return err
		}
	}
	m.record.Endpoints = slices.DeleteFunc(m.record.Endpoints, func(e *endpointRecord) bool { return e.NetworkID == n.ID })
	m.record.Networks = slices.DeleteFunc(m.record.Networks, func(r *netRecord) bool { return r == n })
	m.tell()
	var err error
	if n.Driver == Bridge && len(m.families) > 0 {
		err = m.applyRules()
	}
	return errors.Join(err, m.save())
}

func (m *Manager) dropBridge(n *netRecord) error {
	set, err := n.settings()
	if err != nil {
		return err
	}
	s, err := dialIn(m.netns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer s.close()
	return m.deleteOurs(s, set.bridge)
}

// deleteOurs removes an interface if this package made it.
func (m *Manager) deleteOurs(s *socket, name string) error {
	l, err := s.link(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if l.group != m.group {
		return nil
	}
	return s.deleteLink(name)
}

// SetLinks replaces which members of a network reach which others.
func (m *Manager) SetLinks(nameOrID string, links []Link) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.record.network(nameOrID)
	if n == nil {
		return fmt.Errorf("set links of network %s: %w", nameOrID, ErrNotFound)
	}
	changed, old := n.Network, n.Links
	changed.Links = links
	if err := changed.check(); err != nil {
		return err
	}
	n.Links = links
	err := m.save()
	if err == nil {
		err = m.applyRules()
	}
	if err != nil {
		n.Links = old
		return errors.Join(fmt.Errorf("set links of network %s: %w", n.Name, err), m.save())
	}
	return nil
}

package network

import (
	"fmt"
	"net"
	"net/netip"
)

// reserve finds the endpoint's addresses: wished, its own from before, or free ones.
func (m *Manager) reserve(n *netRecord, e Endpoint, old *endpointRecord) (*endpointRecord, error) {
	taken := m.record.taken(n)
	if old != nil {
		delete(taken, old.IP)
		delete(taken, old.IP6)
		if !e.IP.IsValid() {
			e.IP = old.IP
		}
		if !e.IP6.IsValid() {
			e.IP6 = old.IP6
		}
		if e.MAC == "" && e.IP == old.IP {
			e.MAC = old.MAC
		}
	}
	within := n.Range
	if !within.IsValid() {
		within = n.Subnet
	}
	var err error
	if e.IP, err = m.pick(n, e.IP, n.Subnet, within, &n.Last, taken); err != nil {
		return nil, err
	}
	if n.IPv6 {
		if e.IP6, err = m.pick(n, e.IP6, n.Subnet6, n.Subnet6, &n.Last6, taken); err != nil {
			return nil, err
		}
	} else if e.IP6.IsValid() {
		return nil, fmt.Errorf("address %v: %w: the network has no IPv6", e.IP6, ErrInvalid)
	}
	mac := macOf(e.IP)
	if e.MAC != "" {
		if mac, err = net.ParseMAC(e.MAC); err != nil || len(mac) != 6 || mac[0]&1 != 0 {
			return nil, fmt.Errorf("%w MAC %q", ErrInvalid, e.MAC)
		}
	}
	e.MAC = mac.String()
	return n.endpoint(e), nil
}

// endpoint fills in what follows from the network.
func (n *netRecord) endpoint(e Endpoint) *endpointRecord {
	r := &endpointRecord{Attached: Attached{Endpoint: e, NetworkID: n.ID, Gateway: n.Gateway, Gateway6: n.Gateway6}}
	r.Prefix = netip.PrefixFrom(e.IP, n.Subnet.Bits())
	if n.IPv6 {
		r.Prefix6 = netip.PrefixFrom(e.IP6, n.Subnet6.Bits())
	}
	if n.Driver == Bridge {
		r.Veth = vethName(n.ID, e.Container)
		r.DNS = []netip.Addr{n.Gateway}
	}
	return r
}

// pick is an address: the wished one if it is free, or one of those that are.
func (m *Manager) pick(n *netRecord, wish netip.Addr, subnet, within netip.Prefix, last *netip.Addr, taken map[netip.Addr]bool) (netip.Addr, error) {
	if !wish.IsValid() {
		a, ok := choose(within, subnet, *last, taken)
		if !ok {
			return a, fmt.Errorf("no address of %v is free: %w", within, ErrInUse)
		}
		*last = a
		return a, nil
	}
	if !subnet.Contains(wish) || reserved(subnet, wish) {
		return wish, fmt.Errorf("address %v: %w in %v", wish, ErrInvalid, subnet)
	}
	if !taken[wish] {
		return wish, nil
	}
	owner := "the gateway"
	for _, e := range m.record.Endpoints {
		if e.NetworkID == n.ID && (e.IP == wish || e.IP6 == wish) {
			owner = e.display()
		}
	}
	return wish, fmt.Errorf("address %v: %w by %s", wish, ErrInUse, owner)
}

package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Endpoint is a container's wish for a place in a network.
type Endpoint struct {
	Container string `json:"container"` // its id
	Network   string `json:"network"`   // name or id
	// Names are all that resolve to it: the container's name, aliases, the service's name. Its short
	// id resolves in any case.
	Names []string `json:"names,omitempty"`
	// IP, IP6 and MAC are chosen when they are not given. The addresses a container has had in a network stay
	// its own until Release.
	IP  netip.Addr `json:"ip,omitzero"`
	IP6 netip.Addr `json:"ip6,omitzero"`
	MAC string     `json:"mac,omitempty"`
	// Interface is the name in the container; "": the first of eth0, eth1, … that is free.
	Interface string `json:"interface,omitempty"`
	Ports     []Port `json:"ports,omitempty"`
	// NoDefaultRoute is for a container's second network.
	NoDefaultRoute bool `json:"noDefaultRoute,omitempty"`
}

// Attached is what became of an Endpoint: all of it is filled in, the ports as they are bound.
type Attached struct {
	Endpoint
	NetworkID string       `json:"networkID"`
	Prefix    netip.Prefix `json:"prefix,omitzero"` // the address with the size of the subnet
	Prefix6   netip.Prefix `json:"prefix6,omitzero"`
	Gateway   netip.Addr   `json:"gateway,omitzero"`
	Gateway6  netip.Addr   `json:"gateway6,omitzero"`
	DNS       []netip.Addr `json:"dns,omitempty"` // whom to ask for names
}

// Attach gives a container its place in a network: an interface in its namespace, with addresses and
// routes, and its published ports. All of it is there when it returns, or none. A container that is
// attached already is attached anew.
func (m *Manager) Attach(netns *os.File, e Endpoint) (Attached, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.record.network(e.Network)
	if n == nil {
		return Attached{}, fmt.Errorf("attach %s: network %s: %w", short(e.Container), e.Network, ErrNotFound)
	}
	if e.Container == "" {
		return Attached{}, fmt.Errorf("attach to network %s: %w id of a container", n.Name, ErrInvalid)
	}
	e.Network = n.Name
	switch n.Driver {
	case Host:
		return Attached{Endpoint: e, NetworkID: n.ID}, nil
	case None:
		return Attached{Endpoint: e, NetworkID: n.ID}, loopback(netns)
	}
	r, err := m.attach(netns, n, e)
	if err != nil {
		return Attached{}, fmt.Errorf("attach %s to network %s: %w", short(e.Container), n.Name, err)
	}
	return r.Attached, nil
}

func (m *Manager) attach(netns *os.File, n *netRecord, e Endpoint) (*endpointRecord, error) {
	set, err := n.settings()
	if err != nil {
		return nil, err
	}
	if err := checkPorts(n, set, e.Ports); err != nil {
		return nil, err
	}
	old := m.record.endpoint(e.Container, n.ID)
	if old != nil && old.Stage != kept {
		if err := m.detach(old); err != nil {
			return nil, err
		}
	}
	r, err := m.reserve(n, e, old)
	if err != nil {
		return nil, err
	}
	r.Stage = making
	m.record.Endpoints = append(slices.DeleteFunc(m.record.Endpoints, func(x *endpointRecord) bool { return x == old }), r)
	if err = m.prepare(netns, r); err == nil {
		err = m.connect(netns, n, set, r)
	}
	if err == nil {
		r.Stage = attached
		err = m.save()
	}
	if err == nil {
		m.tell()
		return r, nil
	}
	err = errors.Join(err, m.detach(r))
	if old == nil {
		m.forget(r)
		err = errors.Join(err, m.save())
	}
	return nil, err
}

// prepare finds out which ports and what name of an interface there are to be had, and records what
// is about to be made. The ports' sockets end with the process, so they can come first.
func (m *Manager) prepare(netns *os.File, r *endpointRecord) error {
	claims, err := m.claimAll(r)
	if err != nil {
		return err
	}
	m.claims[r.key()] = claims
	if r.Interface == "" {
		if r.Interface, err = freeName(netns); err != nil {
			return err
		}
	}
	return m.save()
}

func checkPorts(n *netRecord, set settings, ports []Port) error {
	if len(ports) > 0 && (n.Driver != Bridge || n.Internal) {
		return fmt.Errorf("%w: ports cannot be published from a network that is internal or macvlan", ErrInvalid)
	}
	for i := range ports {
		if err := ports[i].check(set); err != nil {
			return err
		}
	}
	return nil
}

// vethName is the name of the host's end: the same for the same attachment.
func vethName(network, container string) string {
	return fmt.Sprintf("tv%08x", tag(network+" "+container))
}

// connect makes in the kernel what r says.
func (m *Manager) connect(netns *os.File, n *netRecord, set settings, r *endpointRecord) error {
	s, err := dialIn(m.netns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer s.close()
	if n.Driver == Macvlan {
		return m.connectMacvlan(s, netns, n, set, r)
	}
	if err := m.connectPair(s, netns, set, r); err != nil {
		return err
	}
	if len(r.Ports) > 0 || set.apart {
		if err := m.applyRules(); err != nil {
			return err
		}
		if err := m.forgetFlows(r); err != nil {
			return err
		}
	}
	host, err := s.link(r.Veth)
	if err != nil {
		return err
	}
	if err := s.up(host.index); err != nil {
		return err
	}
	if err := configure(netns, n, set, r); err != nil {
		return err
	}
	return m.wake(s, n, r.Veth)
}

func (r *endpointRecord) key() string { return r.Container + " " + r.NetworkID }

func (r *endpointRecord) pair(m *Manager, netns *os.File, set settings) pair {
	mac, _ := net.ParseMAC(r.MAC) // reserve read it, or made it
	return pair{host: r.Veth, container: r.Interface, group: m.group, netns: netns, mac: mac, mtu: set.mtu}
}

func (m *Manager) connectPair(s *socket, netns *os.File, set settings, r *endpointRecord) error {
	bridge, err := s.link(set.bridge)
	if err != nil {
		return err
	}
	p := r.pair(m, netns, set)
	p.bridge = bridge.index
	if err := s.addPair(p); err != nil {
		return err
	}
	host, err := s.link(r.Veth)
	if err != nil {
		return err
	}
	if err := within(m.netns, func() error { return setIPv6(r.Veth, false) }); err != nil { // a port of a bridge has no use for it
		return err
	}
	if set.apart {
		return s.isolate(host.index)
	}
	return m.turnBack(s, host.index)
}

// bridgeFilter is on where br_netfilter lets the host's filter, and its translation of addresses, see
// what a bridge passes on. It belongs to the whole host (Kubernetes needs it), so it stays as it is.
const bridgeFilter = "bridge/bridge-nf-call-iptables"

// turnBack lets a member reach its own published port where the bridge itself sends the packet back to it.
func (m *Manager) turnBack(s *socket, index int) error {
	return within(m.netns, func() error {
		off, err := isOff(bridgeFilter)
		if off || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return s.hairpin(index)
	})
}

func (m *Manager) connectMacvlan(s *socket, netns *os.File, n *netRecord, set settings, r *endpointRecord) error {
	if set.parent == "" {
		return fmt.Errorf("%w option parent: the host's interface is needed", ErrInvalid)
	}
	parent, err := s.link(set.parent)
	if err != nil {
		return err
	}
	// Linux 5.10 refuses a name that the host has, too, so there is another one at first.
	p := r.pair(m, netns, set)
	p.container = vethName(n.ID, r.Container)
	if err := s.addMacvlan(parent.index, p); err != nil {
		return err
	}
	if err := renameIn(netns, p.container, r.Interface); err != nil {
		return err
	}
	return configure(netns, n, set, r)
}

// Detach takes a container's interface and its ports out of a network, also when its namespace is
// gone. Its addresses stay its own. One that is not attached is no error.
func (m *Manager) Detach(container, nameOrID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.record.network(nameOrID)
	if n == nil {
		return nil
	}
	e := m.record.endpoint(container, n.ID)
	if e == nil || e.Stage == kept {
		return nil
	}
	if err := m.detach(e); err != nil {
		return fmt.Errorf("detach %s from network %s: %w", short(container), n.Name, err)
	}
	return nil
}

// detach undoes connect, in any stage. The record is the last to know.
func (m *Manager) detach(e *endpointRecord) error {
	var errs []error
	if e.Veth != "" {
		s, err := dialIn(m.netns, unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		errs = append(errs, m.deleteOurs(s, e.Veth))
		s.close()
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	e.Stage = kept
	if m.hasRules(e) {
		errs = append(errs, m.applyRules(), m.forgetFlows(e))
	}
	release(m.claims[e.key()])
	delete(m.claims, e.key())
	m.tell()
	return errors.Join(append(errs, m.save())...)
}

// hasRules tells if the filter says anything of this endpoint alone.
func (m *Manager) hasRules(e *endpointRecord) bool {
	n := m.record.network(e.NetworkID)
	if n == nil || n.Driver != Bridge {
		return false
	}
	set, err := n.settings()
	return len(e.Ports) > 0 || err == nil && set.apart
}

// Release detaches a container from a network, or from all with "", and gives its addresses back.
func (m *Manager) Release(container, nameOrID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, e := range slices.Clone(m.record.Endpoints) {
		if e.Container != container || (nameOrID != "" && nameOrID != e.NetworkID && nameOrID != e.Network) {
			continue
		}
		if e.Stage != kept {
			if err := m.detach(e); err != nil {
				errs = append(errs, fmt.Errorf("release %s from network %s: %w", short(container), e.Network, err))
				continue
			}
		}
		m.forget(e)
		errs = append(errs, m.save())
	}
	return errors.Join(errs...)
}

func (m *Manager) forget(e *endpointRecord) {
	m.record.Endpoints = slices.DeleteFunc(m.record.Endpoints, func(x *endpointRecord) bool { return x == e })
}

// Rename gives a container other names in a network.
func (m *Manager) Rename(container, nameOrID string, names []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.record.network(nameOrID)
	if n == nil {
		return fmt.Errorf("rename %s: network %s: %w", short(container), nameOrID, ErrNotFound)
	}
	e := m.record.endpoint(container, n.ID)
	if e == nil {
		return fmt.Errorf("rename %s: not in network %s: %w", short(container), n.Name, ErrNotFound)
	}
	e.Names = names
	m.tell()
	err := m.save()
	if len(n.Links) > 0 {
		err = errors.Join(err, m.applyRules())
	}
	return err
}

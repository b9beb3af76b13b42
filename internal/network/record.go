package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// record is what is made, or was about to be. It is written before the kernel is told and lives as
// long as what the kernel has: in memory.
type record struct {
	Networks  []*netRecord      `json:"networks"`
	Endpoints []*endpointRecord `json:"endpoints"`
	// Guard: forwarding was off before it was turned on for containers, so nothing else is forwarded.
	Guard  bool `json:"guard,omitempty"`
	Guard6 bool `json:"guard6,omitempty"`
}

type netRecord struct {
	Network
	// Last address that was given away.
	Last  netip.Addr `json:"last,omitzero"`
	Last6 netip.Addr `json:"last6,omitzero"`
	// Resolver is the port it listens at, if not 53.
	Resolver uint16 `json:"resolver,omitempty"`
}

// endpointRecord is an address that a container has in a network, attached or not.
type endpointRecord struct {
	Attached
	// Veth is the host's end; "" with macvlan.
	Veth string `json:"veth,omitempty"`
	// Stage is how far an attachment is.
	Stage stage `json:"stage"`
}

type stage string

const (
	kept     stage = "kept"     // only the address
	making   stage = "making"   // some of it may be in the kernel
	attached stage = "attached" // all of it is
)

func (m *Manager) path() string { return filepath.Join(m.dir, "network.json") }

// load reads the record; one that is not there is empty. One that cannot be read is put aside, and
// counts as lost: Recover then takes away what it spoke of. An engine that does not start would be worse.
func (m *Manager) load() error {
	text, err := os.ReadFile(m.path())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := m.record.parse(text); err != nil {
		m.log("read %s: %v: it is now %s.damaged, and all networks are made anew", m.path(), err, m.path())
		m.record = record{}
		return os.Rename(m.path(), m.path()+".damaged")
	}
	return nil
}

// parse takes over a record. One that is not this package's work is refused.
func (r *record) parse(text []byte) error {
	if err := json.Unmarshal(text, r); err != nil {
		return err
	}
	known := map[string]*netRecord{}
	for _, n := range r.Networks {
		if n == nil {
			return fmt.Errorf("%w network", ErrInvalid)
		}
		if err := n.whole(); err != nil {
			return err
		}
		known[n.ID] = n
	}
	for _, e := range r.Endpoints {
		if e == nil || known[e.NetworkID] == nil {
			return fmt.Errorf("%w endpoint", ErrInvalid)
		}
		if err := e.whole(known[e.NetworkID]); err != nil {
			return err
		}
	}
	return nil
}

// whole tells what is not there that Create would have filled in.
func (n *netRecord) whole() error {
	if err := n.check(); err != nil {
		return err
	}
	needs := n.Driver == Bridge || n.Driver == Macvlan
	if needs && !n.Subnet.IsValid() || n.Driver == Bridge && !n.Gateway.IsValid() {
		return fmt.Errorf("network %s: %w subnet", n.Name, ErrInvalid)
	}
	if needs && n.IPv6 && (!n.Subnet6.IsValid() || n.Driver == Bridge && !n.Gateway6.IsValid()) {
		return fmt.Errorf("network %s: %w subnet of IPv6", n.Name, ErrInvalid)
	}
	return nil
}

func (e *endpointRecord) whole(n *netRecord) error {
	if !n.Subnet.Contains(e.IP) || e.IP6.IsValid() && !n.Subnet6.Contains(e.IP6) || n.IPv6 && !e.IP6.IsValid() {
		return fmt.Errorf("%w addresses %v, %v in network %s", ErrInvalid, e.IP, e.IP6, n.Name)
	}
	if len(e.Veth) >= nameSize {
		return fmt.Errorf("%w name of interface %s", ErrInvalid, e.Veth)
	}
	for i := range e.Ports {
		if err := e.Ports[i].check(settings{}); err != nil {
			return err
		}
	}
	return nil
}

// save writes the record. No sync: after a loss of power there is nothing in the kernel either.
func (m *Manager) save() error {
	text, err := json.Marshal(&m.record)
	if err != nil {
		return err
	}
	if err := os.WriteFile(m.path()+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(m.path()+".new", m.path())
}

func (r *record) network(nameOrID string) *netRecord {
	for _, n := range r.Networks {
		if n.ID == nameOrID || n.Name == nameOrID {
			return n
		}
	}
	return nil
}

func (r *record) endpoint(container, id string) *endpointRecord {
	for _, e := range r.Endpoints {
		if e.Container == container && e.NetworkID == id {
			return e
		}
	}
	return nil
}

// taken are a network's addresses that nobody else can have.
func (r *record) taken(n *netRecord) map[netip.Addr]bool {
	t := map[netip.Addr]bool{n.Gateway: true, n.Gateway6: true}
	for _, e := range r.Endpoints {
		if e.NetworkID == n.ID {
			t[e.IP], t[e.IP6] = true, true
		}
	}
	return t
}

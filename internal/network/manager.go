package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
)

// Options of Open. The zero value is right for a host.
type Options struct {
	Netns  *os.File // network namespace that plays the host; nil: the process's own
	Pools  []Pool   // where subnets are from; nil: Docker's pools
	Resolv string   // the host's resolv.conf; "": /etc/resolv.conf
	// Files are what Files gave before the last engine ended. Those not needed are closed.
	Files []*os.File
	// Log is told what went wrong with nobody waiting for it; nil: nobody.
	Log func(format string, args ...any)
}

// Manager has the networks of one host. One is open for a namespace at a time.
type Manager struct {
	dir      string
	netns    *os.File
	pools    []Pool
	group    uint32 // of the interfaces it made
	families []byte // of nf_tables that the kernel has
	resolver *resolver
	log      func(format string, args ...any)

	mu     sync.Mutex // the only lock of the package but the resolver's own, which are taken under it
	record record
	filter *socket // to nf_tables; nil: to be opened
	// noStrict tells that there is no table for bridges, which only networks need that keep members apart.
	noStrict bool
	claims   map[string][]*claim // by container and network
}

// Open goes on with the record in dir, which is in memory (below /run) and made when it is not there.
// Nothing is changed in the kernel until a call says so; after an engine's end that is Recover.
func Open(dir string, o Options) (*Manager, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	m := &Manager{dir: dir, netns: o.Netns, pools: o.Pools, group: tag(tableName), log: o.Log, claims: map[string][]*claim{}}
	if m.pools == nil {
		m.pools = defaultPools()
	}
	if m.log == nil {
		m.log = func(string, ...any) {}
	}
	if err := errors.Join(m.load(), m.probeFamilies()); err != nil {
		return nil, fmt.Errorf("open networks: %w", err)
	}
	if o.Resolv == "" {
		o.Resolv = "/etc/resolv.conf"
	}
	m.resolver = newResolver(o.Netns, o.Resolv, m.log)
	if err := m.resolver.adopt(o.Files); err != nil {
		return nil, fmt.Errorf("open networks: %w", err)
	}
	m.tell()
	return m, nil
}

// Close ends the resolver and gives back the ports' sockets. What the kernel has stays, and the record.
func (m *Manager) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.claims {
		release(c)
	}
	clear(m.claims)
	if m.filter != nil {
		m.filter.close()
		m.filter = nil
	}
	return m.resolver.close()
}

// Files are the resolver's sockets, for a keeper to hold: questions wait in them while no engine is
// there. They change with Create, Remove and Recover, and stay this package's: nobody else closes them.
func (m *Manager) Files() []*os.File {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.resolver.files()
}

// Get finds a network by name or id.
func (m *Manager) Get(nameOrID string) (Network, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.record.network(nameOrID)
	if n == nil {
		return Network{}, fmt.Errorf("network %s: %w", nameOrID, ErrNotFound)
	}
	return n.Network, nil
}

// List is all networks, in the order they were made.
func (m *Manager) List() []Network {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Network, 0, len(m.record.Networks))
	for _, n := range m.record.Networks {
		all = append(all, n.Network)
	}
	return all
}

// Attachments is all that is attached.
func (m *Manager) Attachments() []Attached {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Attached
	for _, e := range m.record.Endpoints {
		if e.Stage == attached {
			all = append(all, e.Attached)
		}
	}
	return all
}

// DNS is where a container asks for names: the resolvers of its networks, the first one attached
// first. None: it has no bridge, and asks whom the host asks.
func (m *Manager) DNS(container string) []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []netip.Addr
	for _, e := range m.record.Endpoints {
		if e.Container == container && e.Stage != kept {
			all = append(all, e.DNS...)
		}
	}
	return slices.Compact(all)
}

// tell hands the resolver what it answers from.
func (m *Manager) tell() { m.resolver.names.Store(newDirectory(&m.record)) }

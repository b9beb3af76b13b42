package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Abilities is what the kernel can do for networks. Reasons says what is missing, and what for.
type Abilities struct {
	Nftables bool     `json:"nftables"` // bridges at all: without it no network is kept apart from another
	IPv6     bool     `json:"ipv6"`     // networks with IPv6
	Ports    bool     `json:"ports"`    // published ports
	Apart    bool     `json:"apart"`    // networks whose members only send as themselves
	Macvlan  bool     `json:"macvlan"`
	Reasons  []string `json:"reasons,omitempty"`
}

// Probe finds out what the kernel can do, in the namespace that plays the host. It needs
// CAP_NET_ADMIN and changes nothing.
func (m *Manager) Probe() Abilities {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := Abilities{
		Nftables: slices.Contains(m.families, unix.NFPROTO_IPV4),
		IPv6:     slices.Contains(m.families, unix.NFPROTO_IPV6),
		Apart:    slices.Contains(m.families, unix.NFPROTO_BRIDGE),
	}
	if !a.Nftables {
		a.Reasons = append(a.Reasons, "networks with a bridge: "+ErrNoNetfilter.Error()+m.oldFilter())
		return a
	}
	if !a.IPv6 {
		a.Reasons = append(a.Reasons, "networks with IPv6: the kernel has no IPv6 or no CONFIG_NF_TABLES_IPV6")
	}
	if !a.Apart {
		a.Reasons = append(a.Reasons, "members that cannot send in another's name: the kernel has no CONFIG_NF_TABLES_BRIDGE")
	}
	err := m.probePorts()
	a.Ports = err == nil
	if err != nil {
		a.Reasons = append(a.Reasons, fmt.Sprintf("published ports: the kernel lacks CONFIG_NFT_FIB_IPV4 or CONFIG_NFT_NAT (%v)", err))
	}
	if err := m.probeLink("macvlan"); errors.Is(err, unix.EOPNOTSUPP) {
		a.Reasons = append(a.Reasons, "driver macvlan: the kernel has no CONFIG_MACVLAN")
	} else {
		a.Macvlan = true
	}
	return a
}

// oldFilter says so when the kernel has only what came before nf_tables.
func (m *Manager) oldFilter() string {
	for _, name := range []string{"/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"} {
		if _, err := os.Stat(name); err == nil {
			return "; it has iptables, which alone does not serve: build it with CONFIG_NF_TABLES"
		}
	}
	return ""
}

// probePorts makes and ends a table with all that published ports need, in one transaction.
func (m *Manager) probePorts() error {
	t := newTable(unix.NFPROTO_IPV4, tableName+"-probe")
	v := view{members: []*endpointRecord{{Attached: Attached{Endpoint: Endpoint{
		IP: netip.IPv4Unspecified(), Ports: []Port{{Proto: "tcp", HostPort: 1, Port: 1}},
	}}}}}
	t.portMaps([]view{v})
	t.chain(chain{"arriving", "nat", hookPrerouting, priorityDestination})
	portRulesIn(t, "arriving")
	return m.transact(append(t.messages, removal(t.family, t.name)...))
}

// probeLink asks for an interface of a kind that cannot be made, for lack of all it needs: the kernel
// says that, or that it does not know the kind.
func (m *Manager) probeLink(kind string) error {
	s, err := dialIn(m.netns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer s.close()
	r := request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, linkHeader(unix.AF_UNSPEC, 0, false))
	r.text(unix.IFLA_IFNAME, "tare-probe")
	r.nest(unix.IFLA_LINKINFO, func() { r.text(unix.IFLA_INFO_KIND, kind) })
	return s.do(r)
}

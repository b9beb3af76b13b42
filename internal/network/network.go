package network

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Errors that callers tell apart.
var (
	ErrNotFound    = errors.New("no such network")
	ErrInUse       = errors.New("in use")
	ErrExists      = errors.New("exists already")
	ErrInvalid     = errors.New("invalid")
	ErrNoNetfilter = errors.New("the kernel has no nf_tables (CONFIG_NF_TABLES, NF_TABLES_IPV4, NFT_NAT, NFT_MASQ, NFT_CT)")
)

// Drivers of networks.
const (
	Bridge  = "bridge"  // one Linux bridge, addresses of its own, a way out through the host
	Host    = "host"    // the host's own network
	None    = "none"    // loopback alone
	Macvlan = "macvlan" // interfaces of their own on the network of one of the host's
)

// Network is what containers are attached to.
type Network struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Driver string `json:"driver"` // "": Bridge
	// Subnet is where addresses are from, Range the part of it they are chosen from. Create chooses
	// those that are not given.
	Subnet  netip.Prefix `json:"subnet,omitzero"`
	Range   netip.Prefix `json:"range,omitzero"`
	Gateway netip.Addr   `json:"gateway,omitzero"`

	IPv6     bool         `json:"ipv6,omitempty"`
	Subnet6  netip.Prefix `json:"subnet6,omitzero"`
	Gateway6 netip.Addr   `json:"gateway6,omitzero"`
	// Internal networks have no way out, and names of elsewhere do not resolve in them.
	Internal bool `json:"internal,omitempty"`
	// Options known: "icc" ("false": members reach each other only by Links) and "dev.tare.links"
	// ("declared", the same, or "all"), "parent" (the host's interface, of Macvlan), "mtu", and Docker's names beginning with "com.docker.network." for
	// those and for bridge.name, bridge.enable_ip_masquerade, bridge.host_binding_ipv4. Others are kept and
	// mean nothing here.
	Options map[string]string `json:"options,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Links   []Link            `json:"links,omitempty"`
}

// Link lets one member of a network that keeps them apart open connections to another.
type Link struct {
	From string `json:"from"` // a name in the network or a container's id
	To   string `json:"to"`
	// Proto is "tcp" or "udp"; "" is every protocol.
	Proto string `json:"proto,omitempty"`
	// Port and End bound the ports; 0 is every port, and End 0 means only Port.
	Port uint16 `json:"port,omitempty"`
	End  uint16 `json:"end,omitempty"`
}

// settings are a network's options, read.
type settings struct {
	bridge     string // the interface's name
	apart      bool   // members do not reach each other unless linked
	masquerade bool
	parent     string
	mtu        int
	binding    netip.Addr // where ports are published that name no address
}

func (n *Network) settings() (settings, error) {
	s := settings{bridge: n.Options["com.docker.network.bridge.name"], masquerade: true, parent: n.Options["parent"]}
	if s.bridge == "" {
		s.bridge = "tare-" + n.ID[:min(10, len(n.ID))]
	}
	if len(s.bridge) >= unix.IFNAMSIZ || strings.ContainsAny(s.bridge, "/: \t\n") {
		return s, fmt.Errorf("network %s: %w name of an interface %q", n.Name, ErrInvalid, s.bridge)
	}
	var err error
	read := func(parse func(string) error, keys ...string) {
		for _, key := range keys {
			if value, ok := n.Options[key]; ok && err == nil {
				if e := parse(value); e != nil {
					err = fmt.Errorf("network %s: %w option %s=%s", n.Name, ErrInvalid, key, value)
				}
			}
		}
	}
	read(func(v string) (err error) { s.mtu, err = mtu(v); return err }, "mtu", "com.docker.network.driver.mtu")
	read(func(v string) error {
		talk, err := strconv.ParseBool(v)
		s.apart = !talk
		return err
	}, "icc", "com.docker.network.bridge.enable_icc")
	read(func(v string) error {
		s.apart = v == "declared"
		if v != "declared" && v != "all" {
			return ErrInvalid
		}
		return nil
	}, "dev.tare.links")
	read(func(v string) (err error) { s.masquerade, err = strconv.ParseBool(v); return err }, "com.docker.network.bridge.enable_ip_masquerade")
	read(func(v string) (err error) { s.binding, err = netip.ParseAddr(v); return err }, "com.docker.network.bridge.host_binding_ipv4")
	if s.binding.IsValid() && s.binding.IsUnspecified() {
		s.binding = netip.Addr{}
	}
	return s, err
}

func mtu(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err == nil && n != 0 && (n < 68 || n > 65535) { // RFC 791 section 3.2
		err = ErrInvalid
	}
	return n, err
}

// check refuses what no kernel would take, and fills in what follows from the rest.
func (n *Network) check() error {
	if n.Driver == "" {
		n.Driver = Bridge
	}
	refuse := func(what string, of any) error {
		return fmt.Errorf("network %s: %w %s %v", n.Name, ErrInvalid, what, of)
	}
	switch {
	case len(n.ID) < 8:
		return refuse("id", n.ID)
	case n.Name == "":
		return refuse("name of network", n.ID)
	}
	switch n.Driver {
	case Bridge, Host, None, Macvlan:
	default:
		return refuse("driver", n.Driver)
	}
	for _, l := range n.Links {
		if (l.Proto != "" && l.Proto != "tcp" && l.Proto != "udp") || (l.Port != 0 && l.Proto == "") || (l.End != 0 && l.End < l.Port) {
			return refuse("link", l)
		}
	}
	s, err := n.settings()
	if err != nil {
		return err
	}
	if len(n.Links) > 0 && !s.apart {
		return refuse("links in a network that keeps nobody apart: option icc is not", false)
	}
	return n.checkAddresses()
}

func (n *Network) checkAddresses() error {
	refuse := func(what string, of any) error {
		return fmt.Errorf("network %s: %w %s %v", n.Name, ErrInvalid, what, of)
	}
	n.Subnet, n.Subnet6, n.Range = n.Subnet.Masked(), n.Subnet6.Masked(), n.Range.Masked()
	n.IPv6 = n.IPv6 || n.Subnet6.IsValid()
	switch {
	case n.Subnet.IsValid() && (!n.Subnet.Addr().Is4() || n.Subnet.Bits() < 8 || n.Subnet.Bits() > 30):
		return refuse("subnet", n.Subnet)
	case n.Subnet6.IsValid() && (!n.Subnet6.Addr().Is6() || n.Subnet6.Bits() < 8 || n.Subnet6.Bits() > 124):
		return refuse("subnet", n.Subnet6)
	case n.Range.IsValid() && (!n.Subnet.Contains(n.Range.Addr()) || n.Range.Bits() < n.Subnet.Bits()):
		return refuse("range outside of the subnet", n.Range)
	case n.Gateway.IsValid() && !n.Subnet.Contains(n.Gateway):
		return refuse("gateway outside of the subnet", n.Gateway)
	case n.Gateway6.IsValid() && !n.Subnet6.Contains(n.Gateway6):
		return refuse("gateway outside of the subnet", n.Gateway6)
	}
	return nil
}

package engine

import (
	"cmp"
	"net/netip"
	"os"
	"slices"
	"strings"

	"tare.dev/tare/internal/network"
	"tare.dev/tare/internal/order"
)

// Rules by which one reaches another.
const (
	RuleSame      = "same network"
	RuleDeclared  = "declared link"
	RulePublished = "published port"
	RuleHost      = "the host's network"
	RuleShared    = "same container's network"
)

// Outside and the host itself reach what is published, as containers do. They are no containers: a Reach
// from them has no FromID.
const (
	Outside = "outside"
	OnHost  = "host"
)

// Reach is one line of who reaches whom: From may open connections to To.
type Reach struct {
	From    string `json:"from"`
	FromID  string `json:"fromID,omitempty"` // "": From is Outside or OnHost
	To      string `json:"to"`
	ToID    string `json:"toID"`
	Network string `json:"network"` // which To is reached in
	// Address is where: To's own address in the network, or, for a published port, the host's; zero is all of
	// the host's.
	Address netip.Addr `json:"address,omitzero"`
	Proto   string     `json:"proto,omitempty"` // "": every protocol
	Port    uint16     `json:"port,omitempty"`  // To's own; 0: every port
	End     uint16     `json:"end,omitempty"`   // the last of a range
	Host    uint16     `json:"hostPort,omitempty"`
	Rule    string     `json:"rule"`
}

// reaching collects the lines.
type reaching struct {
	n     *networks
	views map[string]View // of those that run
	ids   []string
	at    map[string][]network.Attached // by container
	out   []Reach
}

// Reaches is who reaches whom, of all containers that run. What is not in it is closed, but for what lies beyond
// the device: members of macvlan networks are neighbours of everything in the network outside. The host's own programs
// reach every member of a bridge at its address besides.
func (e *Engine) Reaches() []Reach {
	r := &reaching{n: e.nets, views: map[string]View{}, at: map[string][]network.Attached{}}
	for _, c := range e.Containers() {
		if v := c.View(); v.Running() {
			r.views[v.ID] = v
			r.ids = append(r.ids, v.ID)
		}
	}
	for _, a := range e.nets.m.Attachments() {
		r.at[a.Container] = append(r.at[a.Container], a)
	}
	r.members()
	r.neighbours()
	for _, id := range r.ids {
		r.published(id)
		r.ofHost(id)
	}
	r.shared()
	order.Stably(r.out, func(a, b Reach) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Network, b.Network), int(a.Port)-int(b.Port))
	})
	return slices.Compact(r.out)
}

// add adds a line between two that run.
func (r *reaching) add(from, to string, line Reach) {
	a, here := r.views[from]
	b, there := r.views[to]
	if !here || !there || from == to {
		return
	}
	line.From, line.FromID, line.To, line.ToID = a.Name, from, b.Name, to
	r.out = append(r.out, line)
}

// members is what package network has let through.
func (r *reaching) members() {
	for _, x := range r.n.m.Reach() {
		rule := RuleSame
		if one, err := r.n.m.Get(x.Network); err == nil && one.Apart() {
			rule = RuleDeclared
		}
		r.add(x.From, x.To, Reach{Network: x.Network, Address: r.address(x.To, x.Network), Proto: x.Proto, Port: x.Port, End: x.End, Rule: rule})
	}
}

func (r *reaching) address(id, name string) netip.Addr {
	for _, a := range r.at[id] {
		if a.Network == name {
			return a.IP
		}
	}
	return netip.Addr{}
}

// neighbours are members of networks that are none of the host's: nothing is between them.
func (r *reaching) neighbours() {
	for from, mine := range r.at {
		for _, a := range mine {
			one, err := r.n.m.Get(a.NetworkID)
			if err != nil || one.Driver != network.Macvlan {
				continue
			}
			for to := range r.at {
				if at := r.address(to, one.Name); at.IsValid() {
					r.add(from, to, Reach{Network: one.Name, Address: at, Rule: RuleSame})
				}
			}
		}
	}
}

// published adds who reaches what a container publishes: outside and the host, and members of other networks
// that have a way out, by an address of the host.
func (r *reaching) published(to string) {
	for _, at := range r.at[to] {
		for _, p := range at.Ports {
			line := Reach{
				To: r.views[to].Name, ToID: to, Network: at.Network, Address: p.HostIP, Proto: p.Proto, Port: p.Port,
				Host: p.HostPort, Rule: RulePublished,
			}
			line.From = OnHost
			r.out = append(r.out, line)
			if p.HostIP.IsLoopback() {
				continue
			}
			line.From = Outside
			r.out = append(r.out, line)
			for _, from := range r.ids {
				if r.goesOut(from, at) {
					r.add(from, to, line)
				}
			}
		}
	}
}

// goesOut tells whether a container reaches addresses of the host over a bridge, and so what is published there
// of one that is attached to a network.
func (r *reaching) goesOut(id string, to network.Attached) bool {
	return slices.ContainsFunc(r.at[id], func(a network.Attached) bool {
		one, err := r.n.m.Get(a.NetworkID)
		return err == nil && one.Driver == network.Bridge && !one.Internal && (a.NetworkID != to.NetworkID || !one.Apart() || !bridgeFiltered())
	})
}

// bridgeFiltered tells whether the kernel hands what passes within a bridge to the host's filter: members that are kept
// apart then do not reach each other by the host's address either.
func bridgeFiltered() bool {
	text, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-iptables")
	return err == nil && strings.TrimSpace(string(text)) == "1" // without br_netfilter there is no such file
}

// ofHost is for a container that has the host's network: it reaches what the host does, which is every member
// of a bridge, and is reached as the host is.
func (r *reaching) ofHost(id string) {
	if !r.views[id].Host.NetworkMode.IsHost() {
		return
	}
	for _, other := range r.ids {
		if r.views[other].Host.NetworkMode.IsHost() {
			r.add(id, other, Reach{Network: network.Host, Rule: RuleHost})
			continue
		}
		if r.goesOut(other, network.Attached{}) {
			r.add(other, id, Reach{Network: network.Host, Rule: RuleHost})
		}
		for _, a := range r.at[other] {
			if one, err := r.n.m.Get(a.NetworkID); err == nil && one.Driver == network.Bridge {
				r.add(id, other, Reach{Network: a.Network, Address: a.IP, Rule: RuleHost})
			}
		}
	}
}

// shared is for containers that have the network of another: they reach each other, and all that it
// reaches, and are reached with it.
func (r *reaching) shared() {
	homes := map[string][]string{} // of whose network it is: who has it
	for _, id := range r.ids {
		v := r.views[id]
		if of := v.Host.NetworkMode.ConnectedContainer(); of != "" {
			if c, err := r.n.e.Find(of); err == nil {
				homes[c.id] = append(homes[c.id], id)
			}
		}
	}
	for home, guests := range homes {
		all := append([]string{home}, guests...)
		for _, line := range slices.Clone(r.out) {
			for _, g := range guests {
				if line.FromID == home {
					r.add(g, line.ToID, line)
				}
				if line.ToID == home {
					r.reached(g, line)
				}
			}
		}
		for _, a := range all {
			for _, b := range all {
				r.add(a, b, Reach{Network: "container:" + r.views[home].Name, Rule: RuleShared})
			}
		}
	}
}

// reached adds a line to another container, from whomever it is.
func (r *reaching) reached(to string, line Reach) {
	if line.FromID != "" {
		r.add(line.FromID, to, line)
		return
	}
	line.To, line.ToID = r.views[to].Name, to
	r.out = append(r.out, line)
}

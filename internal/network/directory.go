package network

import (
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
)

// directory is who is called what, as the resolver sees it: made anew with each change and never
// changed, so that an answer takes no lock.
type directory struct {
	askers map[netip.Addr]*asker
	names  map[string]map[string][]*endpointRecord // by network's id, then by name in lower case
	owners map[netip.Addr]*endpointRecord
	within map[string]place // the subnet of a network by its id
	turn   *atomic.Uint32
}

// asker is a container that may ask, known by the address it asks from.
type asker struct {
	networks []string // ids: it knows the names of these
	gateway  netip.Addr
	gateway6 netip.Addr
	outside  bool // one of its networks has a way out, so it may ask for names of elsewhere
}

func newDirectory(r *record) *directory {
	d := &directory{
		askers: map[netip.Addr]*asker{}, owners: map[netip.Addr]*endpointRecord{},
		names: map[string]map[string][]*endpointRecord{}, within: map[string]place{}, turn: new(atomic.Uint32),
	}
	internal := map[string]bool{}
	for _, n := range r.Networks {
		internal[n.ID] = n.Internal
		d.within[n.ID] = place{n.Subnet, n.Gateway}
	}
	containers := map[string]*asker{}
	for _, e := range r.Endpoints {
		if e.Stage == kept {
			continue
		}
		e := clone(e)
		a := containers[e.Container]
		if a == nil {
			a = &asker{gateway: e.Gateway, gateway6: e.Gateway6}
			containers[e.Container] = a
		}
		a.networks = append(a.networks, e.NetworkID)
		a.outside = a.outside || !internal[e.NetworkID]
		for _, address := range []netip.Addr{e.IP, e.IP6} {
			if address.IsValid() {
				d.askers[address], d.owners[address] = a, e
			}
		}
		d.enter(e)
	}
	return d
}

// clone keeps what is read without a lock apart from the record.
func clone(e *endpointRecord) *endpointRecord {
	c := *e
	return &c
}

func (d *directory) enter(e *endpointRecord) {
	in := d.names[e.NetworkID]
	if in == nil {
		in = map[string][]*endpointRecord{}
		d.names[e.NetworkID] = in
	}
	seen := map[string]bool{}
	for _, name := range append([]string{e.Container, short(e.Container)}, e.Names...) {
		name = strings.ToLower(name)
		for _, full := range []string{name, name + "." + strings.ToLower(e.Network)} {
			if !seen[full] {
				seen[full] = true
				in[full] = append(in[full], e)
			}
		}
	}
}

// find is the addresses that a name (without the last dot, in any case) has for an asker. known tells
// that the name is one of ours, also when it has no address of the kind.
func (d *directory) find(a *asker, name string, ipv6 bool) (found []netip.Addr, known bool) {
	name = strings.ToLower(name)
	switch name {
	case "host.docker.internal", "host.tare.internal", "gateway.docker.internal":
		return valid(nil, pickFamily(a.gateway, a.gateway6, ipv6)), true
	}
	for _, id := range a.networks {
		for _, e := range d.names[id][name] {
			known = true
			found = valid(found, pickFamily(e.IP, e.IP6, ipv6))
		}
	}
	if len(found) > 1 { // clients take the first one: each is first in its turn
		n := int(d.turn.Add(1) % uint32(len(found)))
		found = append(found[n:len(found):len(found)], found[:n]...)
	}
	return found, known
}

func pickFamily(a4, a6 netip.Addr, ipv6 bool) netip.Addr {
	if ipv6 {
		return a6
	}
	return a4
}

func valid(list []netip.Addr, a netip.Addr) []netip.Addr {
	if !a.IsValid() {
		return list
	}
	return append(list, a)
}

// reverse is the name of an address for an asker. ours tells that nobody else can know it.
func (d *directory) reverse(a *asker, address netip.Addr) (name string, ours bool) {
	for _, id := range a.networks {
		if !d.within[id].address.IsValid() || !d.within[id].address.Contains(address) {
			continue
		}
		ours = true
		if address == d.within[id].gateway {
			return "host.tare.internal.", true
		}
		if e := d.owners[address]; e != nil && e.NetworkID == id {
			return e.display() + "." + e.Network + ".", true
		}
	}
	if e := d.owners[address]; e != nil && address.Is6() {
		for _, id := range a.networks {
			if e.NetworkID == id {
				return e.display() + "." + e.Network + ".", true
			}
		}
	}
	return "", ours
}

// parseReverse reads the name that asks for an address's name (RFC 1035 section 3.5, RFC 3596
// section 2.5), without the last dot.
func parseReverse(name string) (netip.Addr, bool) {
	name = strings.ToLower(name)
	if digits, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		return parseReverse4(digits)
	}
	digits, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok || len(digits) != 63 {
		return netip.Addr{}, false
	}
	var a [16]byte
	for i := range 32 {
		c := digits[2*i : 2*i+1]
		n, err := strconv.ParseUint(c, 16, 4)
		if err != nil || (i < 31 && digits[2*i+1] != '.') {
			return netip.Addr{}, false
		}
		a[15-i/2] |= byte(n) << (4 * (i % 2))
	}
	return netip.AddrFrom16(a), true
}

func parseReverse4(digits string) (netip.Addr, bool) {
	parts := strings.Split(digits, ".")
	if len(parts) != 4 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
	return a, err == nil && a.Is4()
}

package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// view is a network with what the filter has to know of it.
type view struct {
	*netRecord
	settings
	members []*endpointRecord // those attached
}

func (m *Manager) views() []view {
	var all []view
	for _, n := range m.record.Networks {
		s, err := n.settings()
		if n.Driver != Bridge || err != nil { // none that is recorded has an error
			continue
		}
		v := view{netRecord: n, settings: s}
		for _, e := range m.record.Endpoints {
			if e.NetworkID == n.ID && e.Stage != kept {
				v.members = append(v.members, e)
			}
		}
		all = append(all, v)
	}
	return all
}

// applyRules puts the filter of the record in the place of the one the kernel has.
func (m *Manager) applyRules() error {
	if len(m.families) == 0 {
		if len(m.views()) == 0 {
			return nil
		}
		return ErrNoNetfilter
	}
	err := m.sendRules(nil)
	if err != nil { // a table of another version's may have other sets by the same names
		var old []*message
		for _, family := range m.families {
			old = append(old, removal(family, tableName)...)
		}
		err = m.sendRules(old)
	}
	if errors.Is(err, unix.ENOENT) {
		err = fmt.Errorf("%w: a part of nf_tables is not in the kernel (one of CONFIG_NFT_FIB_IPV4, NFT_NAT, NFT_MASQ, NFT_REDIR, NFT_CT)", err)
	}
	if err != nil {
		return fmt.Errorf("replace table %s of nf_tables: %w", tableName, err)
	}
	return nil
}

// sendRules sends the filter of the record as one transaction, behind other messages.
func (m *Manager) sendRules(messages []*message) error {
	views := m.views()
	apart := slices.ContainsFunc(views, func(v view) bool { return v.apart })
	for _, family := range m.families {
		if family == unix.NFPROTO_BRIDGE && !apart && m.noStrict {
			continue // to end a table that is not there costs the kernel ten milliseconds, too
		}
		if len(views) == 0 || family == unix.NFPROTO_BRIDGE && !apart {
			messages = append(messages, removal(family, tableName)...)
			continue
		}
		t := newTable(family, tableName)
		if family == unix.NFPROTO_BRIDGE {
			portRules(t, views)
		} else {
			m.hostRules(t, views)
		}
		messages = append(messages, t.messages...)
	}
	if err := m.transact(messages); err != nil {
		return err
	}
	m.noStrict = !apart
	return nil
}

// netfilter is a socket to nf_tables that stays: when one is closed the kernel waits for its clean-up
// of the last transactions, ten milliseconds and more.
func (m *Manager) netfilter() (*socket, error) {
	if m.filter == nil {
		s, err := dialIn(m.netns, unix.NETLINK_NETFILTER)
		if err != nil {
			return nil, err
		}
		m.filter = s
	}
	return m.filter, nil
}

// transact sends a batch to nf_tables.
func (m *Manager) transact(messages []*message) error {
	s, err := m.netfilter()
	if err != nil {
		return err
	}
	if err = s.batch(messages); err != nil { // more answers to it may come
		s.close()
		m.filter = nil
	}
	return err
}

const tableName = "tare"

// families are those of nf_tables that this kernel has: IPv4, IPv6, and that of bridges, which only
// networks use whose members are kept apart. ip and ip6 are two tables, and not one of inet: that
// translates addresses only since Linux 5.2, and is not there in a kernel without IPv6.
func (m *Manager) probeFamilies() error {
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6, unix.NFPROTO_BRIDGE} {
		err := m.transact(newTable(family, tableName+"-probe").probe(family))
		if errors.Is(err, unix.EPROTONOSUPPORT) {
			return nil
		}
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("probe nf_tables: %w", err)
		}
		if err != nil && family == unix.NFPROTO_IPV4 {
			return nil // the others do nothing without it
		}
		if err == nil {
			m.families = append(m.families, family)
		}
	}
	return nil
}

// probe adds one of each that the filter needs of a family, and the end of it all: nothing stays.
func (t *table) probe(family byte) []*message {
	if family == unix.NFPROTO_BRIDGE {
		t.chain(chain{"ports", "filter", hookPrerouting, priorityRaw})
		t.rule("ports", meta0(unix.NFT_META_PROTOCOL, []byte{8, 0}), accept())
	} else {
		t.chain(chain{"source", "nat", hookPostrouting, prioritySource})
		t.rule("source", translated(), masquerade())
	}
	return append(t.messages, removal(family, t.name)...)
}

func meta0(key uint32, value []byte) []expression {
	return []expression{meta(key, 0), compare(unix.NFT_CMP_EQ, value)}
}

// hostRules fill the table of IPv4 or IPv6.
func (m *Manager) hostRules(t *table, views []view) {
	var bridges, internal, talk [][]byte
	for _, v := range views {
		bridges = append(bridges, nameBytes(v.bridge))
		if v.Internal {
			internal = append(internal, nameBytes(v.bridge))
		}
		if !v.apart {
			talk = append(talk, append(nameBytes(v.bridge), nameBytes(v.bridge)...))
		}
	}
	names := setKind{key: typeName, keySize: nameSize}
	t.set("bridges", names, bridges)
	t.set("internal", names, internal)
	t.set("talk", setKind{key: typeName<<6 | typeName, keySize: 2 * nameSize}, talk)
	forwardRules(t, views, m.guarded(t.family))
	inputRules(t)
	translationRules(t, views)
}

func (m *Manager) guarded(family byte) bool {
	if family == unix.NFPROTO_IPV4 {
		return m.record.Guard
	}
	return m.record.Guard6
}

// forwardRules say which packets the host passes on: between members, out, in to what is published.
func forwardRules(t *table, views []view, guard bool) {
	t.chain(chain{"forward", "filter", hookForward, priorityFilter})
	t.rule("forward", established(), accept())
	for _, v := range views {
		for _, l := range v.Links {
			linkRules(t, v, l)
		}
	}
	// Not reached by what a bridge passes on itself, unless br_netfilter hands it to this chain.
	t.rule("forward", inOut("talk"), accept())
	t.rule("forward", inAny("internal"), drop())
	t.rule("forward", outAny("bridges"), translated(), accept())
	t.rule("forward", outAny("bridges"), drop())
	if guard {
		t.rule("forward", inAny("bridges"), accept())
		t.rule("forward", drop())
	}
}

// linkRules let the members a link names reach the others it names.
func linkRules(t *table, v view, l Link) {
	for _, from := range v.named(l.From) {
		for _, to := range v.named(l.To) {
			a, b := from.address(t.family), to.address(t.family)
			if !a.IsValid() || !b.IsValid() || from == to {
				continue
			}
			parts := [][]expression{in(v.bridge), out(v.bridge), t.from(single(a)), t.to(single(b))}
			if l.Proto != "" {
				parts = append(parts, protocol((&Port{Proto: l.Proto}).number()))
			}
			if l.Port != 0 {
				parts = append(parts, port(l.Port, max(l.Port, l.End)))
			}
			t.rule("forward", append(parts, accept())...)
		}
	}
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// named are the members that have a name, or an id.
func (v view) named(name string) []*endpointRecord {
	var found []*endpointRecord
	for _, e := range v.members {
		if e.called(name) {
			found = append(found, e)
		}
	}
	return found
}

func (e *endpointRecord) called(name string) bool {
	if e.Container == name || short(e.Container) == name {
		return true
	}
	for _, n := range e.Names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

func (e *endpointRecord) address(family byte) netip.Addr {
	if family == unix.NFPROTO_IPV4 {
		return e.IP
	}
	return e.IP6
}

// Types of messages of ICMP and ICMPv6 (RFC 792, RFC 4861).
const (
	icmpRedirect  = 5
	icmp6Redirect = 137
)

// inputRules say what members reach of the host itself: those of internal networks only its resolver.
func inputRules(t *table) {
	icmp, redirect := byte(unix.IPPROTO_ICMP), byte(icmpRedirect)
	if t.family == unix.NFPROTO_IPV6 {
		icmp, redirect = unix.IPPROTO_ICMPV6, icmp6Redirect
	}
	t.chain(chain{"input", "filter", hookInput, priorityFilter})
	t.rule("input", established(), accept())
	t.rule("input", inAny("internal"), translated(), accept())
	t.rule("input", inAny("internal"), protocol(icmp), accept())
	t.rule("input", inAny("internal"), protocol(unix.IPPROTO_UDP), port(53, 53), accept())
	t.rule("input", inAny("internal"), protocol(unix.IPPROTO_TCP), port(53, 53), accept())
	t.rule("input", inAny("internal"), drop())
	// Members that are kept apart reach each other through the host, and must not be told to do without.
	t.chain(chain{"output", "filter", hookOutput, priorityFilter})
	t.rule("output", outAny("bridges"), protocol(icmp),
		[]expression{payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, 0), compare(unix.NFT_CMP_EQ, []byte{redirect})}, drop())
}

// translationRules rewrite addresses: of what goes out, of what comes for a published port, of
// questions to a resolver that could not have its port.
func translationRules(t *table, views []view) {
	published := t.portMaps(views)
	t.chain(chain{"source", "nat", hookPostrouting, prioritySource})
	for _, v := range views {
		sourceRules(t, v)
	}
	if t.family == unix.NFPROTO_IPV4 {
		// The host's loopback reaches published ports only because its bridges take such addresses
		// (route_localnet); a member must not use that to reach the host's loopback.
		loopback := netip.MustParsePrefix("127.0.0.0/8")
		t.rule("source", t.from(loopback), outAny("bridges"), masquerade())
		t.chain(chain{"raw", "filter", hookPrerouting, priorityRaw})
		t.rule("raw", inAny("bridges"), t.to(loopback), drop())
	}
	t.chain(chain{"arriving", "nat", hookPrerouting, priorityDestination})
	t.chain(chain{"local", "nat", hookOutput, priorityDestination})
	if t.family == unix.NFPROTO_IPV6 {
		// Nothing from ::1 leaves a host. Who asks there is refused, and asks 127.0.0.1 then.
		t.rule("local", t.to(single(netip.IPv6Loopback())), accept())
	}
	for _, v := range views {
		resolverRules(t, v)
	}
	if published {
		portRulesIn(t, "arriving")
		portRulesIn(t, "local")
	}
}

// sourceRules give packets of a network the host's address on their way out, and on the way back in
// where one member reaches another by the host's address: the answer has to come by the host, too.
func sourceRules(t *table, v view) {
	subnet := v.Subnet
	if t.family == unix.NFPROTO_IPV6 {
		subnet = v.Subnet6
	}
	if !subnet.IsValid() {
		return
	}
	if v.masquerade && !v.Internal {
		t.rule("source", t.from(subnet), notOut(v.bridge), masquerade())
	}
	t.rule("source", t.from(subnet), out(v.bridge), translated(), masquerade())
}

func resolverRules(t *table, v view) {
	if t.family != unix.NFPROTO_IPV4 || v.Resolver == 0 || v.Resolver == 53 {
		return
	}
	for _, p := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		t.rule("arriving", in(v.bridge), t.to(single(v.Gateway)), protocol(p), port(53, 53), redirect(v.Resolver))
	}
}

// The maps of published ports: from protocol and port, and the host's address where one was named, to
// the member's address and port. However many there are, a packet costs two look-ups.
const (
	portsAnywhere = "ports"
	portsAt       = "ports-at"
)

// portMaps makes both and tells if anything is in them.
func (t *table) portMaps(views []view) bool {
	kind := uint32(typeIP4)
	_, _, size := header(t.family)
	if t.family == unix.NFPROTO_IPV6 {
		kind = typeIP6
	}
	var anywhere, at [][]byte
	for _, v := range views {
		for _, e := range v.members {
			for _, p := range e.Ports {
				element, exact := t.portElement(e, p)
				switch {
				case element == nil:
				case exact:
					at = append(at, element)
				default:
					anywhere = append(anywhere, element)
				}
			}
		}
	}
	value, valueSize := kind<<6|typeService, size+4
	t.set(portsAnywhere, setKind{typeProto<<6 | typeService, 8, value, valueSize}, anywhere)
	t.set(portsAt, setKind{kind<<12 | typeProto<<6 | typeService, size + 8, value, valueSize}, at)
	return len(anywhere)+len(at) > 0
}

func (t *table) portElement(e *endpointRecord, p Port) (element []byte, exact bool) {
	target := e.address(t.family)
	if !target.IsValid() {
		return nil, false
	}
	if p.HostIP.IsValid() {
		if p.HostIP.Is4() != target.Is4() {
			return nil, false
		}
		if !p.HostIP.IsUnspecified() {
			element = p.HostIP.AsSlice()
		}
	}
	exact = element != nil
	element = append(element, word(p.number())...)
	element = append(element, portWord(p.HostPort)...)
	element = append(element, target.AsSlice()...)
	return append(element, portWord(p.Port)...), exact
}

// portRulesIn send what is for a published port of the host to the member that published it.
func portRulesIn(t *table, chain string) {
	local := []expression{destinationType(), compare(unix.NFT_CMP_EQ, binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL))}
	_, target, size := header(t.family)
	words := size / 4
	key := func(at uint32) []expression {
		return []expression{meta(unix.NFT_META_L4PROTO, at), payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, at+1)}
	}
	t.rule(chain, local,
		[]expression{payload(unix.NFT_PAYLOAD_NETWORK_HEADER, target, size, 0)}, key(words),
		[]expression{translate(portsAt)}, destination(t.family, words))
	t.rule(chain, local, key(0), []expression{translate(portsAnywhere)}, destination(t.family, words))
}

// portRules fill the table of bridges: where members are kept apart, each can only send as itself.
func portRules(t *table, views []view) {
	var strict, pairs4, pairs6 [][]byte
	for _, v := range views {
		if !v.apart {
			continue
		}
		for _, e := range v.members {
			strict = append(strict, nameBytes(e.Veth))
			pairs4 = append(pairs4, append(nameBytes(e.Veth), e.IP.AsSlice()...))
			if e.IP6.IsValid() {
				pairs6 = append(pairs6, append(nameBytes(e.Veth), e.IP6.AsSlice()...))
			}
		}
	}
	t.set("strict", setKind{key: typeName, keySize: nameSize}, strict)
	t.set("own4", setKind{key: typeName<<6 | typeIP4, keySize: nameSize + 4}, pairs4)
	t.set("own6", setKind{key: typeName<<6 | typeIP6, keySize: nameSize + 16}, pairs6)
	t.chain(chain{"ports", "filter", hookPrerouting, priorityRaw})
	pair := func(offset, size uint32, set string) []expression {
		return []expression{
			meta(unix.NFT_META_IIFNAME, 0), payload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, size, nameSize/4), lookup(set, 0),
		}
	}
	ethernet := func(kind uint16) []expression {
		return meta0(unix.NFT_META_PROTOCOL, binary.BigEndian.AppendUint16(nil, kind))
	}
	linkLocal := []expression{payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 8, 2, 0), mask([]byte{0xff, 0xc0}), compare(unix.NFT_CMP_EQ, []byte{0xfe, 0x80})}
	unspecified := []expression{payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 8, 16, 0), compare(unix.NFT_CMP_EQ, make([]byte, 16))}
	t.rule("ports", ethernet(unix.ETH_P_IP), pair(12, 4, "own4"), accept())
	t.rule("ports", ethernet(unix.ETH_P_ARP), pair(14, 4, "own4"), accept()) // RFC 826: the sender's address
	t.rule("ports", ethernet(unix.ETH_P_IPV6), pair(8, 16, "own6"), accept())
	t.rule("ports", ethernet(unix.ETH_P_IPV6), linkLocal, accept())
	t.rule("ports", ethernet(unix.ETH_P_IPV6), unspecified, accept())
	t.rule("ports", inAny("strict"), drop())
}

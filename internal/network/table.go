package network

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// table collects the messages that give one table of nf_tables other contents
// (linux/netfilter/nf_tables.h). Sent as one batch, packets meet the old contents or the new ones.
type table struct {
	family   byte // unix.NFPROTO_IPV4 and so on
	name     string
	messages []*message
	sets     uint32
}

// newTable begins with the table, which may be there with its chains and sets: chain and set empty
// those before they fill them. Chains that stay keep their hooks, which take the kernel ten
// milliseconds to end.
func newTable(family byte, name string) *table {
	t := &table{family: family, name: name}
	t.add(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE).text(unix.NFTA_TABLE_NAME, name)
	return t
}

// removal ends a table, which is made first so that there always is one.
func removal(family byte, name string) []*message {
	t := newTable(family, name)
	t.add(unix.NFT_MSG_DELTABLE, 0).text(unix.NFTA_TABLE_NAME, name)
	return t.messages
}

func (t *table) add(kind, flags uint16) *message {
	m := request(unix.NFNL_SUBSYS_NFTABLES<<8|kind, flags, []byte{t.family, unix.NFNETLINK_V0, 0, 0})
	t.messages = append(t.messages, m)
	return m
}

// chain is where packets enter a table: what kind ("filter", "nat"), which hook, in which order.
type chain struct {
	name, kind string
	hook       uint32
	priority   int32
}

// Hooks of linux/netfilter.h and priorities of linux/netfilter_ipv4.h.
const (
	hookPrerouting  = 0
	hookInput       = 1
	hookForward     = 2
	hookOutput      = 3
	hookPostrouting = 4

	priorityRaw         = -300
	priorityDestination = -100
	priorityFilter      = 0
	prioritySource      = 100
)

func (t *table) chain(c chain) {
	m := t.add(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
	m.text(unix.NFTA_CHAIN_TABLE, t.name)
	m.text(unix.NFTA_CHAIN_NAME, c.name)
	m.nest(unix.NFTA_CHAIN_HOOK, func() {
		m.network32(unix.NFTA_HOOK_HOOKNUM, c.hook)
		m.network32(unix.NFTA_HOOK_PRIORITY, uint32(c.priority))
	})
	m.text(unix.NFTA_CHAIN_TYPE, c.kind)
	empty := t.add(unix.NFT_MSG_DELRULE, 0)
	empty.text(unix.NFTA_RULE_TABLE, t.name)
	empty.text(unix.NFTA_RULE_CHAIN, c.name)
}

// rule adds a rule to the end of a chain.
func (t *table) rule(chain string, parts ...[]expression) {
	m := t.add(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND)
	m.text(unix.NFTA_RULE_TABLE, t.name)
	m.text(unix.NFTA_RULE_CHAIN, chain)
	m.nest(unix.NFTA_RULE_EXPRESSIONS, func() {
		for _, part := range parts {
			for _, e := range part {
				m.nest(unix.NFTA_LIST_ELEM, func() {
					m.text(unix.NFTA_EXPR_NAME, e.name)
					m.nest(unix.NFTA_EXPR_DATA, func() { e.data(m) })
				})
			}
		}
	})
}

// setKind tells what the keys of a set are and, for a map, its values: their types as the nft program
// numbers them, six bits each, only for it to print them; and their sizes in bytes.
type setKind struct {
	key, keySize     uint32
	value, valueSize uint32
}

// Types of the nft program (its include/datatype.h).
const (
	typeIP4     = 7
	typeIP6     = 8
	typeProto   = 12
	typeService = 13
	typeName    = 41
	nameSize    = unix.IFNAMSIZ
)

// set makes a named set or map with its elements: key and value one after the other.
func (t *table) set(name string, kind setKind, elements [][]byte) {
	t.sets++
	m := t.add(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE)
	m.text(unix.NFTA_SET_TABLE, t.name)
	m.text(unix.NFTA_SET_NAME, name)
	flags := uint32(0)
	if kind.valueSize > 0 {
		flags = unix.NFT_SET_MAP
		m.network32(unix.NFTA_SET_DATA_TYPE, kind.value)
		m.network32(unix.NFTA_SET_DATA_LEN, kind.valueSize)
	}
	m.network32(unix.NFTA_SET_FLAGS, flags)
	m.network32(unix.NFTA_SET_KEY_TYPE, kind.key)
	m.network32(unix.NFTA_SET_KEY_LEN, kind.keySize)
	m.network32(unix.NFTA_SET_ID, t.sets)
	empty := t.add(unix.NFT_MSG_DELSETELEM, 0)
	empty.text(unix.NFTA_SET_ELEM_LIST_TABLE, t.name)
	empty.text(unix.NFTA_SET_ELEM_LIST_SET, name)
	// The list of elements is an attribute, and no attribute is longer than 64 KiB.
	const most = 400
	for ; len(elements) > 0; elements = elements[min(most, len(elements)):] {
		t.elements(name, kind, elements[:min(most, len(elements))])
	}
}

func (t *table) elements(set string, kind setKind, elements [][]byte) {
	m := t.add(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE)
	m.text(unix.NFTA_SET_ELEM_LIST_TABLE, t.name)
	m.text(unix.NFTA_SET_ELEM_LIST_SET, set)
	m.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func() {
		for _, e := range elements {
			m.nest(unix.NFTA_LIST_ELEM, func() {
				m.nest(unix.NFTA_SET_ELEM_KEY, func() { m.bytes(unix.NFTA_DATA_VALUE, e[:kind.keySize]) })
				if kind.valueSize > 0 {
					m.nest(unix.NFTA_SET_ELEM_DATA, func() { m.bytes(unix.NFTA_DATA_VALUE, e[kind.keySize:]) })
				}
			})
		}
	})
}

// word pads a part of a key to the four bytes that registers have.
func word(b ...byte) []byte { return append(b, make([]byte, (4-len(b)%4)%4)...) }

func portWord(port uint16) []byte { return word(binary.BigEndian.AppendUint16(nil, port)...) }

func nameBytes(name string) []byte {
	b := make([]byte, nameSize)
	copy(b, name)
	return b
}

// expression is one step of a rule.
type expression struct {
	name string
	data func(*message)
}

// register is the nth of the 32-bit registers of nf_tables.
func register(n uint32) uint32 { return unix.NFT_REG32_00 + n }

//go:noinline
func meta(key, to uint32) expression {
	return expression{"meta", func(m *message) {
		m.network32(unix.NFTA_META_KEY, key)
		m.network32(unix.NFTA_META_DREG, register(to))
	}}
}

//go:noinline
func payload(base, offset, size, to uint32) expression {
	return expression{"payload", func(m *message) {
		m.network32(unix.NFTA_PAYLOAD_DREG, register(to))
		m.network32(unix.NFTA_PAYLOAD_BASE, base)
		m.network32(unix.NFTA_PAYLOAD_OFFSET, offset)
		m.network32(unix.NFTA_PAYLOAD_LEN, size)
	}}
}

//go:noinline
func compare(operation uint32, value []byte) expression {
	return expression{"cmp", func(m *message) {
		m.network32(unix.NFTA_CMP_SREG, register(0))
		m.network32(unix.NFTA_CMP_OP, operation)
		m.nest(unix.NFTA_CMP_DATA, func() { m.bytes(unix.NFTA_DATA_VALUE, value) })
	}}
}

func mask(bits []byte) expression {
	return expression{"bitwise", func(m *message) {
		m.network32(unix.NFTA_BITWISE_SREG, register(0))
		m.network32(unix.NFTA_BITWISE_DREG, register(0))
		m.network32(unix.NFTA_BITWISE_LEN, uint32(len(bits)))
		m.nest(unix.NFTA_BITWISE_MASK, func() { m.bytes(unix.NFTA_DATA_VALUE, bits) })
		m.nest(unix.NFTA_BITWISE_XOR, func() { m.bytes(unix.NFTA_DATA_VALUE, make([]byte, len(bits))) })
	}}
}

//go:noinline
func lookup(set string, flags uint32) expression {
	return expression{"lookup", func(m *message) {
		m.text(unix.NFTA_LOOKUP_SET, set)
		m.network32(unix.NFTA_LOOKUP_SREG, register(0))
		m.network32(unix.NFTA_LOOKUP_FLAGS, flags)
	}}
}

// translate looks a key up in a map, whose value goes to the same registers.
func translate(set string) expression {
	return expression{"lookup", func(m *message) {
		m.text(unix.NFTA_LOOKUP_SET, set)
		m.network32(unix.NFTA_LOOKUP_SREG, register(0))
		m.network32(unix.NFTA_LOOKUP_DREG, register(0))
	}}
}

func conntrack(key uint32) expression {
	return expression{"ct", func(m *message) {
		m.network32(unix.NFTA_CT_KEY, key)
		m.network32(unix.NFTA_CT_DREG, register(0))
	}}
}

// destinationType asks the routing tables what kind of address the destination is (Linux 4.10).
func destinationType() expression {
	return expression{"fib", func(m *message) {
		m.network32(unix.NFTA_FIB_DREG, register(0))
		m.network32(unix.NFTA_FIB_RESULT, unix.NFT_FIB_RESULT_ADDRTYPE)
		m.network32(unix.NFTA_FIB_FLAGS, unix.NFTA_FIB_F_DADDR)
	}}
}

//go:noinline
func verdictOf(code uint32) []expression {
	return []expression{{"immediate", func(m *message) {
		m.network32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
		m.nest(unix.NFTA_IMMEDIATE_DATA, func() {
			m.nest(unix.NFTA_DATA_VERDICT, func() { m.network32(unix.NFTA_VERDICT_CODE, code) })
		})
	}}}
}

func accept() []expression { return verdictOf(1) } // NF_ACCEPT
func drop() []expression   { return verdictOf(0) } // NF_DROP

// destination rewrites the destination to the address, of so many words, and the port in the registers.
func destination(family byte, words uint32) []expression {
	return []expression{{"nat", func(m *message) {
		m.network32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT)
		m.network32(unix.NFTA_NAT_FAMILY, uint32(family))
		m.network32(unix.NFTA_NAT_REG_ADDR_MIN, register(0))
		m.network32(unix.NFTA_NAT_REG_PROTO_MIN, register(words))
	}}}
}

func masquerade() []expression {
	return []expression{{"masq", func(*message) {}}}
}

// redirect sends to a port of the host itself.
func redirect(port uint16) []expression {
	return []expression{
		{"immediate", func(m *message) {
			m.network32(unix.NFTA_IMMEDIATE_DREG, register(0))
			m.nest(unix.NFTA_IMMEDIATE_DATA, func() { m.bytes(unix.NFTA_DATA_VALUE, binary.BigEndian.AppendUint16(nil, port)) })
		}},
		{"redir", func(m *message) { m.network32(unix.NFTA_REDIR_REG_PROTO_MIN, register(0)) }},
	}
}

// in and out match the interface a packet came by and leaves by.
func in(name string) []expression {
	return []expression{meta(unix.NFT_META_IIFNAME, 0), compare(unix.NFT_CMP_EQ, nameBytes(name))}
}

func out(name string) []expression {
	return []expression{meta(unix.NFT_META_OIFNAME, 0), compare(unix.NFT_CMP_EQ, nameBytes(name))}
}

func notOut(name string) []expression {
	return []expression{meta(unix.NFT_META_OIFNAME, 0), compare(unix.NFT_CMP_NEQ, nameBytes(name))}
}

func inAny(set string) []expression {
	return []expression{meta(unix.NFT_META_IIFNAME, 0), lookup(set, 0)}
}

func outAny(set string) []expression {
	return []expression{meta(unix.NFT_META_OIFNAME, 0), lookup(set, 0)}
}

// inOut matches the pair of both interfaces in a set of such pairs.
func inOut(set string) []expression {
	return []expression{meta(unix.NFT_META_IIFNAME, 0), meta(unix.NFT_META_OIFNAME, nameSize/4), lookup(set, 0)}
}

func protocol(number byte) []expression {
	return []expression{meta(unix.NFT_META_L4PROTO, 0), compare(unix.NFT_CMP_EQ, []byte{number})}
}

//go:noinline
func port(first, last uint16) []expression {
	load := payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 0)
	if first == last {
		return []expression{load, compare(unix.NFT_CMP_EQ, binary.BigEndian.AppendUint16(nil, first))}
	}
	return []expression{
		load,
		compare(unix.NFT_CMP_GTE, binary.BigEndian.AppendUint16(nil, first)),
		compare(unix.NFT_CMP_LTE, binary.BigEndian.AppendUint16(nil, last)),
	}
}

// header is where an IP header has its addresses: offset of the source, of the destination, and size.
func header(family byte) (source, target, size uint32) {
	if family == unix.NFPROTO_IPV4 {
		return 12, 16, 4
	}
	return 8, 24, 16
}

func (t *table) from(p netip.Prefix) []expression {
	source, _, size := header(t.family)
	return addressIn(source, size, p)
}

func (t *table) to(p netip.Prefix) []expression {
	_, target, size := header(t.family)
	return addressIn(target, size, p)
}

//go:noinline
func addressIn(offset, size uint32, p netip.Prefix) []expression {
	load := payload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, size, 0)
	equal := compare(unix.NFT_CMP_EQ, p.Masked().Addr().AsSlice())
	if p.IsSingleIP() {
		return []expression{load, equal}
	}
	ones := make([]byte, size)
	for i := range p.Bits() {
		ones[i/8] |= 0x80 >> (i % 8)
	}
	return []expression{load, mask(ones), equal}
}

// Bits of conntrack's state and status (linux/netfilter/nf_conntrack_common.h).
const (
	stateEstablished = 1 << 1
	stateRelated     = 1 << 2
	statusTranslated = 1 << 5 // IPS_DST_NAT
)

//go:noinline
func state(key, bits uint32) []expression {
	native := binary.NativeEndian.AppendUint32(nil, bits)
	return []expression{conntrack(key), mask(native), compare(unix.NFT_CMP_NEQ, make([]byte, 4))}
}

func established() []expression { return state(unix.NFT_CT_STATE, stateEstablished|stateRelated) }
func translated() []expression  { return state(unix.NFT_CT_STATUS, statusTranslated) }

package network

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"net"
	"net/netip"
)

// Pool is where subnets come from: Base, cut into subnets with Bits.
type Pool struct {
	Base netip.Prefix `json:"base"`
	Bits int          `json:"bits"`
}

// defaultPools are Docker's.
func defaultPools() []Pool {
	return []Pool{
		{netip.MustParsePrefix("172.17.0.0/16"), 16},
		{netip.MustParsePrefix("172.18.0.0/15"), 16},
		{netip.MustParsePrefix("172.20.0.0/14"), 16},
		{netip.MustParsePrefix("172.24.0.0/13"), 16},
		{netip.MustParsePrefix("192.168.0.0/16"), 20},
	}
}

// subnet is the first of the pools that is free of what is taken.
func subnet(pools []Pool, taken []netip.Prefix) (netip.Prefix, error) {
	for _, pool := range pools {
		if !pool.Base.IsValid() || pool.Bits < pool.Base.Bits() || pool.Bits > pool.Base.Addr().BitLen()-2 {
			return netip.Prefix{}, fmt.Errorf("pool of addresses %v: %w size of subnets /%d", pool.Base, ErrInvalid, pool.Bits)
		}
		for p := netip.PrefixFrom(pool.Base.Masked().Addr(), pool.Bits); p.IsValid() && pool.Base.Overlaps(p); p = next(p) {
			if _, hit := overlap(p, taken); !hit {
				return p, nil
			}
		}
	}
	return netip.Prefix{}, fmt.Errorf("choose subnet: all pools are taken by networks and routes of the host: %w", ErrInUse)
}

func overlap(p netip.Prefix, taken []netip.Prefix) (netip.Prefix, bool) {
	for _, t := range taken {
		if t.Overlaps(p) {
			return t, true
		}
	}
	return netip.Prefix{}, false
}

// next is the prefix after p of the same size; the zero one at the end of all addresses.
func next(p netip.Prefix) netip.Prefix {
	a, ok := plus(p.Addr(), new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits())))
	if !ok {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, p.Bits())
}

func plus(a netip.Addr, n *big.Int) (netip.Addr, bool) {
	sum := new(big.Int).Add(new(big.Int).SetBytes(a.AsSlice()), n)
	if sum.BitLen() > a.BitLen() {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(sum.FillBytes(make([]byte, a.BitLen()/8)))
}

// subnet6 is the unique local subnet (RFC 4193) of a network: the same for the same id.
func subnet6(id string) netip.Prefix {
	sum := sha256.Sum256([]byte(id))
	var a [16]byte
	a[0] = 0xfd
	copy(a[1:8], sum[:])
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// choose is an address of the range that is not taken, the first one behind the last one given, so
// that an address given back is not somebody else's a moment later.
func choose(within, subnet netip.Prefix, last netip.Addr, taken map[netip.Addr]bool) (netip.Addr, bool) {
	first := within.Masked().Addr()
	a := first
	if within.Contains(last) {
		a = last.Next()
	}
	// One more than are taken is enough: the network's own address and the broadcast are the others.
	for range len(taken) + 4 {
		if !within.Contains(a) {
			a = first
		}
		if !taken[a] && !reserved(subnet, a) {
			return a, true
		}
		a = a.Next()
	}
	return netip.Addr{}, false
}

// reserved tells of the addresses of a subnet that no member can have.
func reserved(subnet netip.Prefix, a netip.Addr) bool {
	if a == subnet.Masked().Addr() {
		return true
	}
	return a.Is4() && subnet.Bits() < 31 && a == broadcast(subnet)
}

// macOf is the MAC that belongs to an address, so that who gets an address after another one is not
// looked for where that one was. It is a local one, as Docker's were.
func macOf(a netip.Addr) net.HardwareAddr {
	if a.Is4() {
		b := a.As4()
		return append(net.HardwareAddr{0x02, 0x42}, b[:]...)
	}
	sum := sha256.Sum256(a.AsSlice())
	return net.HardwareAddr{0x02, 0x42, sum[0], sum[1], sum[2], sum[3]}
}

// tag is a number that tells this package's interfaces from others, as their group
// (IFLA_GROUP): it is there from an interface's first moment.
func tag(name string) uint32 {
	sum := sha256.Sum256([]byte("tare network " + name))
	return binary.BigEndian.Uint32(sum[:])&0x7fffffff | 1<<30
}

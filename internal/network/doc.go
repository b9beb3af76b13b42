// Package network gives containers networks: bridges, addresses, filters, published ports, names.
//
// It knows of a container no more than a namespace, an id and names. What it makes is in the kernel,
// in netlink's own messages (netlink(7), linux/rtnetlink.h, linux/netfilter/nf_tables.h), and no
// program is run for it. What it made is written to a record in memory before the kernel has it, so
// that after an end at any moment Recover finds the rest. The filter's contents are replaced as a
// whole, in one transaction: a packet meets the old ones or the new ones.
//
// What always holds: a packet passes between two networks, or from outside to a container, only where
// a port is published; a network that is internal has no way out, for names neither. An address
// belongs to a container until it is released.
//
// # The filter
//
// Tables "ip tare" and "ip6 tare", and "bridge tare" while a network keeps its members apart. Not one
// of inet, which translates addresses only since Linux 5.2 and is not there without IPv6. A kernel
// that has iptables and no nf_tables is refused with ErrNoNetfilter; Probe says what is missing. Rules
// of others stay and count: a firewall that drops what is forwarded, or what comes to port 53 from a
// bridge (names starting with tare), also drops it for containers.
//
// A network with option icc=false keeps its members apart: their ports of the bridge are isolated
// (Linux 4.18) and the rest of their subnet is behind the gateway, so what one sends to another passes
// the host's filter, which knows connections; br_netfilter is not needed for it. Each can only send
// as itself. With br_netfilter on (its default, where it is), members that are apart do not reach each
// other's published ports by the host's address.
//
// # Published ports
//
// The kernel translates them, for the host's own 127.0.0.1 too: its bridges take such addresses
// (route_localnet), and the filter sees to it that no member uses that. So a connection costs no
// process, no memory of ours, and nothing when the engine ends; a relay in user space would. [::1] has
// no such way: it is refused at once, and clients of localhost go on to 127.0.0.1. A socket that is
// bound and never used holds each port, so that no other program takes it. Where a port is published on
// all addresses, IPv6 among them, only a network with IPv6 is reached over IPv6.
//
// # Forwarding
//
// The first network that is not internal turns net.ipv4.ip_forward on; the first one with IPv6,
// net.ipv6.conf.all.forwarding, with accept_ra=2 where it was 1, lest the host lose its own routes. Both
// are for all interfaces, because an answer can come by any, also by one that appears later. A host
// that forwarded nothing before goes on to forward nothing but containers' packets: the filter drops
// the rest. One that is a router sets them before the engine starts (sysctl.d), and stays one.
//
// # Names
//
// The resolver listens at the gateway of each network, at port 53, or at another one with a rule that
// leads there when a program of the host has port 53 on all addresses. It knows an asker by address,
// and answers names of networks the asker is in; the rest it asks the host's servers, unless the asker
// is in internal networks alone. Its sockets can outlive an engine: Files.
package network

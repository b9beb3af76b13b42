package enginecli

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"

	"tare.dev/tare/internal/cli"
)

// ports are what --publish asks for.
func (r *run) ports(*cli.Call) error {
	for _, text := range r.publish {
		all, err := parsePublish(text)
		if err != nil {
			return fmt.Errorf("--publish %s: %w", text, err)
		}
		if r.host.PortBindings == nil {
			r.host.PortBindings = network.PortMap{}
			r.ExposedPorts = network.PortSet{}
		}
		for _, one := range all {
			r.ExposedPorts[one.port] = struct{}{}
			r.host.PortBindings[one.port] = append(r.host.PortBindings[one.port], one.binding)
		}
	}
	return nil
}

type published struct {
	port    network.Port
	binding network.PortBinding
}

// parsePublish reads [ADDRESS:][HOST[-END]:]PORT[-END][/PROTOCOL], as docker does. An IPv6 address stands
// in brackets.
func parsePublish(text string) ([]published, error) {
	rest, proto, _ := strings.Cut(text, "/")
	if proto == "" {
		proto = "tcp"
	}
	if proto != "tcp" && proto != "udp" {
		return nil, fmt.Errorf("protocol %q: want tcp or udp", proto)
	}
	var out []published
	var at netip.Addr
	host, inside := "", rest
	if n := strings.LastIndexByte(rest, ':'); n >= 0 {
		host, inside = rest[:n], rest[n+1:]
		if m := strings.LastIndexByte(host, ':'); m >= 0 && !strings.HasSuffix(host, "]") {
			var err error
			if at, err = netip.ParseAddr(strings.Trim(host[:m], "[]")); err != nil {
				return nil, err
			}
			host = host[m+1:]
		}
	}
	first, last, err := portRange(inside)
	if err != nil {
		return nil, err
	}
	hostFirst, hostLast := 0, 0
	if host != "" {
		if hostFirst, hostLast, err = portRange(host); err != nil {
			return nil, err
		}
		if first != last && hostLast-hostFirst != last-first {
			return nil, fmt.Errorf("ranges of %d and %d ports", hostLast-hostFirst+1, last-first+1)
		}
	}
	for n := first; n <= last; n++ {
		port, err := network.ParsePort(strconv.Itoa(n) + "/" + proto)
		if err != nil {
			return nil, err
		}
		b := network.PortBinding{HostIP: at}
		switch {
		case host == "":
		case first == last && hostFirst != hostLast:
			b.HostPort = host // any of them
		default:
			b.HostPort = strconv.Itoa(hostFirst + n - first)
		}
		out = append(out, published{port, b})
	}
	return out, nil
}

func portRange(s string) (first, last int, err error) {
	from, to, ranged := strings.Cut(s, "-")
	if !ranged {
		to = from
	}
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if err1 != nil || err2 != nil || first < 0 || last < first || last > 65535 {
		return 0, 0, fmt.Errorf("%q: want a port or a range of them", s)
	}
	return first, last, nil
}

package engine

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"github.com/moby/moby/api/types/container"
	api "github.com/moby/moby/api/types/network"
	"tare.dev/tare/internal/network"
	"tare.dev/tare/internal/order"
)

// check resolves the networks that a container is to be in to their names, and refuses what cannot be.
func (n *networks) check(r *Record) error {
	if err := checkPorts(r.Host.PortBindings); err != nil {
		return err
	}
	wished := map[string]*api.EndpointSettings{}
	for name, s := range r.Networks {
		one, err := n.find(name)
		if err != nil {
			return err
		}
		if s == nil { // null in a request
			s = &api.EndpointSettings{}
		}
		wished[one.Name] = s
	}
	if r.Host.NetworkMode.IsContainer() {
		if len(wished) > 0 {
			return Errorf(Invalid, "conflicting options: a container that shares the network of another is in no network of its own")
		}
		r.Networks = nil
		return nil
	}
	one, err := n.find(string(r.Host.NetworkMode))
	if err != nil {
		return err
	}
	if r.Host.NetworkMode != "default" {
		r.Host.NetworkMode = container.NetworkMode(one.Name)
	}
	if wished[one.Name] == nil {
		wished[one.Name] = &api.EndpointSettings{}
	}
	if (one.Driver == network.Host || one.Driver == network.None) && len(wished) > 1 {
		return Errorf(Invalid, "conflicting options: a container with network %s is in no other", one.Name)
	}
	r.Networks = wished
	return nil
}

// checkPorts refuses what cannot be published.
func checkPorts(all api.PortMap) error {
	for p, bindings := range all {
		if p.Num() == 0 || p.Proto() != api.TCP && p.Proto() != api.UDP {
			return Errorf(Invalid, "invalid port specification %q: ports of tcp and udp can be published", p)
		}
		for _, b := range bindings {
			if _, err := api.ParsePortRange(b.HostPort); b.HostPort != "" && err != nil {
				return Errorf(Invalid, "invalid port specification: %q: %w", b.HostPort, err)
			}
		}
	}
	return nil
}

// networkOrder is the names of a container's networks, the one it was made with first: that one has the
// default route and, if it can, the ports.
func networkOrder(r *Record) []string {
	names := slices.Sorted(maps.Keys(r.Networks))
	first := string(r.Host.NetworkMode)
	if first == "default" {
		first = network.Bridge
	}
	order.Stably(names, func(a, b string) int {
		switch {
		case a == first:
			return -1
		case b == first:
			return 1
		}
		return r.Networks[b].GwPriority - r.Networks[a].GwPriority
	})
	return names
}

// attach makes the network namespace of a start, and puts it in its networks. The path is that of the
// namespace, "" is the host's; done is called when the process exists. Only own calls it.
func (n *networks) attach(c *Container) (path string, done func(), err error) {
	v := c.View()
	nothing := func() {}
	if v.Host.NetworkMode.IsHost() {
		return "", nothing, nil
	}
	if of := v.Host.NetworkMode.ConnectedContainer(); of != "" {
		pid, err := n.e.runningPid(of)
		return fmt.Sprintf("/proc/%d/ns/net", pid), nothing, err
	}
	f, err := network.NewNamespace()
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	j := &joining{n: n, c: c, netns: f, ports: wantedPorts(v), attached: map[string]*api.EndpointSettings{}}
	names := networkOrder(v.Record)
	if len(names) == 0 { // it was disconnected from all
		names = []string{network.None}
	}
	for _, name := range names {
		if err := j.join(v, name); err != nil {
			return "", nil, errors.Join(err, n.m.Release(c.id, ""))
		}
	}
	if err := c.edit(func(m *Memory) { m.Attached, m.Ports = j.attached, j.bound }); err != nil {
		return "", nil, err
	}
	if err := n.linkAll(j.attached); err != nil {
		n.detach(c)
		return "", nil, err
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()), func() { f.Close() }, nil
}

// joining is a container's way into its networks.
type joining struct {
	n        *networks
	c        *Container
	netns    *os.File
	routed   bool           // one of them has the default route
	ports    []network.Port // not published yet
	bound    api.PortMap
	attached map[string]*api.EndpointSettings
}

func (j *joining) join(v View, name string) error {
	one, err := j.n.find(name)
	if err != nil {
		return err
	}
	if err := j.n.ensure(one); err != nil {
		return err
	}
	wish := v.Networks[name]
	if wish == nil {
		wish = &api.EndpointSettings{}
	}
	e := network.Endpoint{
		Container: j.c.id, Network: one.ID, Names: append([]string{v.Name}, wish.Aliases...),
		MAC: wish.MacAddress.String(), NoDefaultRoute: j.routed,
	}
	if wish.IPAMConfig != nil {
		e.IP, e.IP6 = wish.IPAMConfig.IPv4Address, wish.IPAMConfig.IPv6Address
	}
	outside := one.Driver == network.Bridge && !one.Internal
	if outside {
		e.Ports = j.ports
	}
	got, err := j.n.m.Attach(j.netns, e)
	if err != nil {
		return attachError(v, err)
	}
	if outside {
		j.ports, j.bound = nil, boundPorts(got.Ports)
	}
	j.routed = j.routed || got.Gateway.IsValid() && !one.Internal
	j.attached[name] = attached(v, wish, one, &got)
	j.n.e.Publish("network", "connect", one.ID, map[string]string{"container": j.c.id, "name": one.Name, "type": one.Driver})
	return nil
}

// attached is an endpoint as the API has it.
func attached(v View, wish *api.EndpointSettings, one Network, got *network.Attached) *api.EndpointSettings {
	s := wish.Copy()
	s.NetworkID, s.EndpointID = one.ID, newID()
	s.IPAddress, s.IPPrefixLen, s.Gateway = got.IP, max(got.Prefix.Bits(), 0), got.Gateway
	s.GlobalIPv6Address, s.GlobalIPv6PrefixLen, s.IPv6Gateway = got.IP6, max(got.Prefix6.Bits(), 0), got.Gateway6
	_ = s.MacAddress.UnmarshalText([]byte(got.MAC)) // it was written by package network
	s.DNSNames = nil
	for _, name := range append([]string{v.Name, v.ID[:12]}, wish.Aliases...) {
		if !slices.Contains(s.DNSNames, name) {
			s.DNSNames = append(s.DNSNames, name)
		}
	}
	return s
}

// attachError is docker's sentence about a port that is taken, which its clients look for.
func attachError(v View, err error) error {
	p, ok := errors.AsType[*network.PortError](err)
	if !ok {
		return networkError(err)
	}
	at := p.HostIP
	if !at.IsValid() {
		at = netip.IPv4Unspecified()
	}
	return fmt.Errorf("driver failed programming external connectivity on endpoint %s: Bind for %s failed: port is already allocated: %w",
		v.Name, netip.AddrPortFrom(at, p.HostPort), err)
}

// detach takes a container out of its networks; its addresses stay its own. Only own calls it.
func (n *networks) detach(c *Container) {
	v := c.View()
	if len(v.Attached) == 0 {
		return
	}
	for name, at := range v.Attached {
		if err := n.m.Detach(c.id, at.NetworkID); err != nil && !errors.Is(err, network.ErrNotFound) {
			n.e.log.Error("take a container out of its network", "container", c.id, "network", name, "error", err)
		}
		n.e.Publish("network", "disconnect", at.NetworkID, map[string]string{"container": c.id, "name": name, "type": n.driver(name)})
	}
	if err := c.edit(func(m *Memory) { m.Attached, m.Ports = nil, nil }); err != nil {
		n.e.log.Error("write a container's state", "container", c.id, "error", err)
	}
	n.relink(v.Attached)
}

func (n *networks) driver(name string) string {
	one, err := n.find(name)
	if err != nil {
		return ""
	}
	return one.Driver
}

// release gives back the addresses of a container that is removed.
func (n *networks) release(c *Container) error { return networkError(n.m.Release(c.id, "")) }

// rename has a container's new name resolve in its networks. Only own calls it.
func (n *networks) rename(c *Container) {
	v := c.View()
	for name, at := range v.Attached {
		names := []string{v.Name}
		if wish := v.Networks[name]; wish != nil {
			names = append(names, wish.Aliases...)
		}
		if err := n.m.Rename(c.id, at.NetworkID, names); err != nil {
			n.e.log.Error("rename a container in its network", "container", c.id, "network", name, "error", err)
		}
	}
}

// servers is where a container asks for names; none: where the host asks.
func (n *networks) servers(c *Container) []netip.Addr { return n.m.DNS(c.id) }

func (n *networks) hostGateway(v View) string {
	if at := gateway(v); at.IsValid() {
		return at.String()
	}
	return ""
}

// wantedPorts is what a container publishes.
func wantedPorts(v View) []network.Port {
	var all []network.Port
	add := func(p api.Port, b api.PortBinding) {
		one := network.Port{HostIP: b.HostIP, Port: p.Num(), Proto: string(p.Proto())}
		one.HostPort, one.HostEnd = hostPorts(b.HostPort)
		all = append(all, one)
	}
	for p, bindings := range v.Host.PortBindings {
		for _, b := range bindings {
			add(p, b)
		}
		if len(bindings) == 0 {
			add(p, api.PortBinding{})
		}
	}
	if v.Host.PublishAllPorts {
		for p := range v.Config.ExposedPorts {
			if _, given := v.Host.PortBindings[p]; !given {
				add(p, api.PortBinding{})
			}
		}
	}
	order.Stably(all, func(a, b network.Port) int { return int(a.Port) - int(b.Port) })
	return all
}

// hostPorts reads PORT or PORT-END; 0 is any. That it can be read, create has seen.
func hostPorts(s string) (first, end uint16) {
	r, err := api.ParsePortRange(s)
	if s == "" || err != nil {
		return 0, 0
	}
	if r.End() == r.Start() {
		return r.Start(), 0
	}
	return r.Start(), r.End()
}

// boundPorts is what was published, as the API has it: on all addresses means one binding for each family.
func boundPorts(ports []network.Port) api.PortMap {
	out := api.PortMap{}
	for _, p := range ports {
		key, err := api.ParsePort(strconv.Itoa(int(p.Port)) + "/" + p.Proto)
		if err != nil {
			continue // it is a number of ours
		}
		ips := []netip.Addr{p.HostIP}
		if !p.HostIP.IsValid() {
			ips = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
		}
		for _, at := range ips {
			out[key] = append(out[key], api.PortBinding{HostIP: at, HostPort: strconv.Itoa(int(p.HostPort))})
		}
	}
	return out
}

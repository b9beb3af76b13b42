package engine

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	api "github.com/moby/moby/api/types/network"

	"tare.dev/tare/internal/network"
	"tare.dev/tare/internal/order"
)

// KeyLinks is an option of networks, "declared" or "all", and a label of containers. Members of a network with
// dev.tare.links=declared reach each other only where the asking one's label says so, in words such as
// "db:5432/tcp, cache:6379, log": names in the network, with a port or a range of ports, of tcp unless udp is
// said; without a port all of the other is reached.
const KeyLinks = "dev.tare.links"

// checkOption refuses what package network would not see: an option that contradicts another, or means nothing.
func checkOption(n *network.Network) error {
	value, given := n.Options[KeyLinks]
	if !given {
		return nil
	}
	if value == "declared" && n.Driver != "" && n.Driver != network.Bridge {
		return Errorf(Invalid, "network %s: option %s=declared: driver %s cannot keep members apart", n.Name, KeyLinks, n.Driver)
	}
	for _, key := range []string{"icc", "com.docker.network.bridge.enable_icc"} {
		talk, err := strconv.ParseBool(n.Options[key])
		if err == nil && talk != (value == "all") {
			return Errorf(Invalid, "network %s: option %s=%s contradicts %s=%t", n.Name, KeyLinks, value, key, talk)
		}
	}
	return nil
}

// checkLinks refuses a label that cannot be read: what was meant would be closed, or open.
func checkLinks(r *Record) error {
	text, given := r.Config.Labels[KeyLinks]
	if !given {
		return nil
	}
	if r.Host.NetworkMode.IsHost() || r.Host.NetworkMode.IsContainer() {
		return Errorf(Invalid, "label %s: a container with network %s has no network of its own to declare links in", KeyLinks, r.Host.NetworkMode)
	}
	_, err := parseLinks(r.ID, text)
	return err
}

// parseLinks reads the label of the container from.
func parseLinks(from, text string) ([]network.Link, error) {
	var all []network.Link
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		l, err := parseLink(one)
		if err != nil {
			return nil, Errorf(Invalid, "label %s: link %q: %w", KeyLinks, one, err)
		}
		l.From = from
		all = append(all, l)
	}
	return all, nil
}

func parseLink(text string) (l network.Link, err error) {
	var ports string
	var given bool
	l.To, ports, given = strings.Cut(text, ":")
	if !validName(l.To) {
		return l, errors.New("must be NAME[:PORT[-PORT][/tcp|/udp]]")
	}
	if !given {
		return l, nil
	}
	r, err := api.ParsePortRange(ports)
	if err != nil {
		return l, err
	}
	l.Proto, l.Port = string(r.Proto()), r.Start()
	if r.End() != r.Start() {
		l.End = r.End()
	}
	if l.Port == 0 {
		return l, errors.New("port 0 cannot be reached")
	}
	if l.Proto != "tcp" && l.Proto != "udp" {
		return l, errors.New("protocol must be tcp or udp")
	}
	return l, nil
}

// link has the members of a network reach whom their labels say, and nobody else. It comes after the change of
// a member's View: of two at once the later one sees both.
func (n *networks) link(id string) error {
	n.linking.Lock()
	defer n.linking.Unlock()
	one, err := n.m.Get(id)
	if err != nil || !one.Apart() { // one that is gone has no members
		return nil
	}
	var links []network.Link
	for _, c := range n.e.Containers() {
		v := c.View()
		if v.Attached[one.Name] == nil {
			continue
		}
		mine, err := parseLinks(v.ID, v.Config.Labels[KeyLinks])
		if err != nil {
			return err
		}
		links = append(links, mine...)
	}
	order.Stably(links, func(a, b network.Link) int { return cmp.Compare(a.From, b.From) })
	if slices.Equal(links, one.Links) {
		return nil
	}
	return networkError(n.m.SetLinks(id, links))
}

// linkAll is link for each network that a container is, or was, attached to.
func (n *networks) linkAll(attached map[string]*api.EndpointSettings) error {
	var errs []error
	for _, at := range attached {
		errs = append(errs, n.link(at.NetworkID))
	}
	return errors.Join(errs...)
}

// relink is linkAll where the members that are left must not suffer from a failure.
func (n *networks) relink(attached map[string]*api.EndpointSettings) {
	if err := n.linkAll(attached); err != nil {
		n.e.log.Error("set the links of networks", "error", err)
	}
}

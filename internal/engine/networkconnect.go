package engine

import (
	"fmt"
	"maps"
	"os"

	"github.com/moby/moby/api/types/container"
	api "github.com/moby/moby/api/types/network"

	"tare.dev/tare/internal/network"
)

// Connect puts a container in a further network, at once when it runs.
func (e *Engine) Connect(name, to string, wish *api.EndpointSettings) error {
	c, err := e.Find(name)
	if err != nil {
		return err
	}
	one, err := e.nets.find(to)
	if err != nil {
		return err
	}
	if wish == nil {
		wish = &api.EndpointSettings{}
	}
	return c.do(func() error { return e.nets.connect(c, one, wish) })
}

func (n *networks) connect(c *Container, one Network, wish *api.EndpointSettings) error {
	v := c.View()
	switch {
	case one.Driver == network.Host || one.Driver == network.None:
		return Errorf(Forbidden, "container cannot be connected to the %s network", one.Name)
	case v.Host.NetworkMode.IsHost():
		return Errorf(Forbidden, "container cannot be disconnected from host network or connected to host network")
	case v.Host.NetworkMode.IsContainer():
		return Errorf(Conflict, "container sharing network namespace with another container or host cannot be connected to any other network")
	case v.Networks[network.None] != nil:
		return Errorf(Forbidden, "container cannot be connected to multiple networks with one of the networks in private (none) mode")
	case v.Networks[one.Name] != nil:
		return Errorf(Forbidden, "endpoint with name %s already exists in network %s", v.Name, one.Name)
	}
	r := *v.Record
	r.Networks = maps.Clone(r.Networks)
	if r.Networks == nil {
		r.Networks = map[string]*api.EndpointSettings{}
	}
	r.Networks[one.Name] = wish
	if err := c.setRecord(&r); err != nil {
		return err
	}
	if !v.Running() {
		return nil
	}
	if err := n.joinRunning(c, one.Name); err != nil {
		if back := c.setRecord(v.Record); back != nil {
			n.e.log.Error("take back a connection", "container", c.id, "error", back)
		}
		return err
	}
	return nil
}

// joinRunning puts a container that runs in one more network.
func (n *networks) joinRunning(c *Container, name string) error {
	v := c.View()
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", v.Pid))
	if err != nil {
		return fmt.Errorf("network namespace of container %s: %w", c.id, err)
	}
	defer f.Close()
	j := &joining{n: n, c: c, netns: f, attached: maps.Clone(v.Attached), routed: gateway(v).IsValid()}
	if j.attached == nil {
		j.attached = map[string]*api.EndpointSettings{}
	}
	if len(v.Memory.Ports) == 0 {
		j.ports = wantedPorts(v)
	}
	if err := j.join(v, name); err != nil {
		return err
	}
	delete(j.attached, network.None) // what it was in after it was taken out of all
	if err := c.edit(func(m *Memory) {
		m.Attached = j.attached
		if j.bound != nil {
			m.Ports = j.bound
		}
	}); err != nil {
		return err
	}
	return n.link(j.attached[name].NetworkID)
}

// Disconnect takes a container out of a network, at once when it runs.
func (e *Engine) Disconnect(name, from string, force bool) error {
	one, err := e.nets.find(from)
	if err != nil {
		return err
	}
	c, err := e.Find(name)
	if err != nil {
		if force && KindOf(err) == NotFound {
			return nil
		}
		return err
	}
	return c.do(func() error { return e.nets.disconnect(c, one) })
}

func (n *networks) disconnect(c *Container, one Network) error {
	v := c.View()
	if v.Host.NetworkMode.IsHost() {
		return Errorf(Forbidden, "container cannot be disconnected from host network or connected to host network")
	}
	if v.Networks[one.Name] == nil {
		return Errorf(Forbidden, "container %s is not connected to network %s", v.Name, one.Name)
	}
	r := *v.Record
	r.Networks = maps.Clone(r.Networks)
	delete(r.Networks, one.Name)
	if err := c.setRecord(&r); err != nil {
		return err
	}
	if err := n.m.Release(c.id, one.ID); err != nil {
		return networkError(err)
	}
	if v.Attached[one.Name] == nil {
		return nil
	}
	n.e.Publish("network", "disconnect", one.ID, map[string]string{"container": c.id, "name": one.Name, "type": one.Driver})
	left := maps.Clone(v.Attached)
	delete(left, one.Name)
	defer n.relink(map[string]*api.EndpointSettings{one.Name: v.Attached[one.Name]})
	return c.edit(func(m *Memory) {
		m.Attached = left
		if one.Driver == network.Bridge && !one.Internal {
			m.Ports = nil
		}
	})
}

// An EndpointOf is a running container in a network.
type EndpointOf struct {
	Container, Name string
	Settings        *api.EndpointSettings
}

// Endpoints is what is in a network now.
func (e *Engine) Endpoints(one Network) []EndpointOf {
	var all []EndpointOf
	for _, c := range e.Containers() {
		v := c.View()
		if at := v.Attached[one.Name]; at != nil && v.State != container.StateExited {
			all = append(all, EndpointOf{v.ID, v.Name, at})
		}
	}
	return all
}

package dockerapi

import (
	"net/http"
	"net/netip"
	"time"

	types "github.com/moby/moby/api/types/network"

	"tare.dev/tare/internal/engine"
	"tare.dev/tare/internal/network"
)

// networkAPI is the routes about networks.
type networkAPI struct{ e *engine.Engine }

func (a *networkAPI) routes() []route {
	return []route{
		{"GET", "/networks", a.list},
		{"POST", "/networks/create", a.create},
		{"POST", "/networks/prune", a.prune},
		{"GET", "/networks/{id}", a.inspect},
		{"DELETE", "/networks/{id}", a.remove},
		{"POST", "/networks/{id}/connect", a.connect},
		{"POST", "/networks/{id}/disconnect", a.disconnect},
	}
}

func (a *networkAPI) list(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilters(r, "name", "id", "driver", "scope", "type", "label", "dangling")
	if err != nil {
		return err
	}
	dangling, given, err := f.bool("dangling")
	if err != nil {
		return err
	}
	for _, t := range f["type"] {
		if t != "custom" && t != "builtin" {
			return statusErrorf(http.StatusBadRequest, "invalid filter: 'type'='%s'", t)
		}
	}
	all := []types.Inspect{}
	for _, n := range a.e.Networks() {
		kind := "custom"
		if n.Predefined() {
			kind = "builtin"
		}
		if !f.contains("name", n.Name) || !f.contains("id", n.ID) || !f.match("driver", driver(n)) || !f.match("scope", "local") ||
			!f.match("type", kind) || !f.labels(n.Labels) ||
			given && (n.Predefined() || dangling != (len(a.e.UsersOfNetwork(n.ID)) == 0)) {
			continue
		}
		one := apiNetwork(n)
		if !speaks(r, "1.28") { // later ones ask for each network's containers
			one.Containers = a.members(n)
		}
		all = append(all, one)
	}
	return writeJSON(w, http.StatusOK, all)
}

// driver is what docker calls it: the driver of the network none is "null".
func driver(n engine.Network) string {
	switch n.Driver {
	case network.None:
		return "null"
	case "":
		return network.Bridge
	}
	return n.Driver
}

// apiNetwork is a network as the API has it.
func apiNetwork(n engine.Network) types.Inspect {
	out := types.Inspect{Network: types.Network{
		Name: n.Name, ID: n.ID, Created: n.Created, Scope: "local", Driver: driver(n), EnableIPv4: true, EnableIPv6: n.IPv6,
		Internal: n.Internal, Attachable: n.Attachable, Options: n.Options, Labels: n.Labels,
		IPAM: types.IPAM{Driver: "default", Options: map[string]string{}, Config: []types.IPAMConfig{}},
	}, Containers: map[string]types.EndpointResource{}}
	if n.Subnet.IsValid() {
		out.IPAM.Config = append(out.IPAM.Config, types.IPAMConfig{Subnet: n.Subnet, IPRange: n.Range, Gateway: n.Gateway})
	}
	if n.Subnet6.IsValid() {
		out.IPAM.Config = append(out.IPAM.Config, types.IPAMConfig{Subnet: n.Subnet6, Gateway: n.Gateway6})
	}
	if out.Options == nil {
		out.Options = map[string]string{}
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	return out
}

// members is the running containers of a network.
func (a *networkAPI) members(n engine.Network) map[string]types.EndpointResource {
	out := map[string]types.EndpointResource{}
	for _, e := range a.e.Endpoints(n) {
		s := e.Settings
		one := types.EndpointResource{Name: e.Name, EndpointID: s.EndpointID, MacAddress: s.MacAddress}
		if s.IPAddress.IsValid() {
			one.IPv4Address = netip.PrefixFrom(s.IPAddress, s.IPPrefixLen)
		}
		if s.GlobalIPv6Address.IsValid() {
			one.IPv6Address = netip.PrefixFrom(s.GlobalIPv6Address, s.GlobalIPv6PrefixLen)
		}
		out[e.Container] = one
	}
	return out
}

func (a *networkAPI) inspect(w http.ResponseWriter, r *http.Request) error {
	n, err := a.e.Network(r.PathValue("id"))
	if err != nil {
		return err
	}
	if scope := r.URL.Query().Get("scope"); scope != "" && scope != "local" {
		return statusErrorf(http.StatusNotFound, "network %s not found", r.PathValue("id"))
	}
	out := apiNetwork(n)
	out.Containers = a.members(n)
	return writeJSON(w, http.StatusOK, out)
}

func (a *networkAPI) create(w http.ResponseWriter, r *http.Request) error {
	var req types.CreateRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	if err := refused(&req); err != nil {
		return err
	}
	want := engine.Network{Attachable: req.Attachable, Network: network.Network{
		Name: req.Name, Driver: req.Driver, Internal: req.Internal, Options: req.Options, Labels: req.Labels,
		IPv6: req.EnableIPv6 != nil && *req.EnableIPv6,
	}}
	if want.Driver == "" || want.Driver == "default" {
		want.Driver = network.Bridge
	}
	if err := addresses(&want.Network, req.IPAM); err != nil {
		return err
	}
	n, err := a.e.CreateNetwork(want)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, types.CreateResponse{ID: n.ID})
}

// refused is what networks of Tare's are not.
func refused(req *types.CreateRequest) error {
	switch req.Driver {
	case "", "default", network.Bridge, network.Macvlan, network.Host, network.None, "null":
	default:
		return statusErrorf(http.StatusNotFound, "could not find plugin %s in v1 plugin registry: plugin not found: drivers are bridge and macvlan", req.Driver)
	}
	switch {
	case req.Scope != "" && req.Scope != "local", req.Ingress:
		return statusErrorf(http.StatusNotImplemented, "networks of a swarm are not offered")
	case req.ConfigOnly || req.ConfigFrom != nil && req.ConfigFrom.Network != "":
		return statusErrorf(http.StatusNotImplemented, "networks that are the configuration of others are not offered")
	case req.EnableIPv4 != nil && !*req.EnableIPv4:
		return statusErrorf(http.StatusNotImplemented, "networks without IPv4 are not offered")
	case req.IPAM != nil && req.IPAM.Driver != "" && req.IPAM.Driver != "default":
		return statusErrorf(http.StatusNotFound, "invalid ipam driver: %s: there is default alone", req.IPAM.Driver)
	}
	return nil
}

// addresses are those that were asked for: of each family once.
func addresses(n *network.Network, ipam *types.IPAM) error {
	if ipam == nil {
		return nil
	}
	for _, c := range ipam.Config {
		six := c.Subnet.Addr().Is6() || !c.Subnet.IsValid() && c.Gateway.Is6()
		switch {
		case six && !n.Subnet6.IsValid():
			n.Subnet6, n.Gateway6, n.IPv6 = c.Subnet, c.Gateway, true
		case !six && !n.Subnet.IsValid():
			n.Subnet, n.Range, n.Gateway = c.Subnet, c.IPRange, c.Gateway
		default:
			return statusErrorf(http.StatusBadRequest, "more than one subnet of a family is not offered")
		}
	}
	return nil
}

func (a *networkAPI) remove(w http.ResponseWriter, r *http.Request) error {
	if err := a.e.RemoveNetwork(r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *networkAPI) connect(w http.ResponseWriter, r *http.Request) error {
	var req types.ConnectRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	return a.e.Connect(req.Container, r.PathValue("id"), req.EndpointConfig)
}

func (a *networkAPI) disconnect(w http.ResponseWriter, r *http.Request) error {
	var req types.DisconnectRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	return a.e.Disconnect(req.Container, r.PathValue("id"), req.Force)
}

// prune is POST /networks/prune: those that no container is in, nor will be when it is started.
func (a *networkAPI) prune(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilters(r, "until", "label", "label!")
	if err != nil {
		return err
	}
	until := time.Time{}
	for _, text := range f["until"] {
		if until, err = parseTime(text, time.Now()); err != nil {
			return err
		}
	}
	report := types.PruneReport{NetworksDeleted: []string{}}
	for _, n := range a.e.Networks() {
		if n.Predefined() || !f.labels(n.Labels) || !until.IsZero() && !n.Created.Before(until) || len(a.e.UsersOfNetwork(n.ID)) > 0 {
			continue
		}
		if err := a.e.RemoveNetwork(n.ID); err != nil {
			return err
		}
		report.NetworksDeleted = append(report.NetworksDeleted, n.Name)
	}
	return writeJSON(w, http.StatusOK, report)
}

package dockerapi

import (
	"net/http"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"tare.dev/tare/internal/engine"
)

func (a *api) containers() []route {
	return []route{
		{"GET", "/containers/json", a.list},
		{"POST", "/containers/create", a.create},
		{"POST", "/containers/prune", a.prune},
		{"GET", "/containers/{id}/json", a.inspect},
		{"GET", "/containers/{id}/logs", a.logs},
		{"GET", "/containers/{id}/attach/ws", notOffered("attaching by WebSocket: attach by POST")},
		{"POST", "/containers/{id}/attach", a.attach},
		{"POST", "/containers/{id}/start", a.start},
		{"POST", "/containers/{id}/stop", a.stop},
		{"POST", "/containers/{id}/restart", a.restart},
		{"POST", "/containers/{id}/kill", a.kill},
		{"POST", "/containers/{id}/pause", a.pause},
		{"POST", "/containers/{id}/unpause", a.unpause},
		{"POST", "/containers/{id}/wait", a.wait},
		{"POST", "/containers/{id}/resize", a.resize},
		{"POST", "/containers/{id}/rename", a.rename},
		{"POST", "/containers/{id}/update", a.update},
		{"DELETE", "/containers/{id}", a.remove},
	}
}

func notOffered(what string) handler {
	return func(http.ResponseWriter, *http.Request) error {
		return engine.Errorf(engine.NotOffered, "not implemented: Tare does not offer %s", what)
	}
}

// on finds the container of the path.
func (a *api) on(r *http.Request) (*engine.Container, error) { return a.e.Find(r.PathValue("id")) }

func (a *api) create(w http.ResponseWriter, r *http.Request) error {
	req := container.CreateRequest{Config: &container.Config{}}
	if err := readJSON(r, &req); err != nil {
		return err
	}
	o := engine.CreateOptions{
		Name: r.URL.Query().Get("name"), Platform: r.URL.Query().Get("platform"), Config: req.Config, Host: req.HostConfig,
		Networks: map[string]*network.EndpointSettings{},
	}
	if n := req.NetworkingConfig; n != nil {
		o.Networks = n.EndpointsConfig
	}
	id, warnings, err := a.e.Create(o)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, container.CreateResponse{ID: id, Warnings: warnings})
}

// done answers a request that has no other answer.
func done(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (a *api) start(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	return done(w, c.Start())
}

func stopOptions(r *http.Request) (o engine.StopOptions, err error) {
	o.Signal = r.URL.Query().Get("signal")
	o.Timeout, err = number(r.URL.Query(), "t")
	return o, err
}

func (a *api) stop(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	o, err := stopOptions(r)
	if err != nil {
		return err
	}
	return done(w, c.Stop(r.Context(), o))
}

func (a *api) restart(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	o, err := stopOptions(r)
	if err != nil {
		return err
	}
	return done(w, c.Restart(r.Context(), o))
}

func (a *api) kill(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	return done(w, c.Kill(r.URL.Query().Get("signal")))
}

func (a *api) pause(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	return done(w, c.Pause())
}

func (a *api) unpause(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	return done(w, c.Unpause())
}

func (a *api) rename(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	return done(w, c.Rename(r.URL.Query().Get("name")))
}

func (a *api) remove(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	if flag(q, "link") {
		return engine.Errorf(engine.NotOffered, "not implemented: Tare does not offer the removal of links: remove the container")
	}
	return done(w, c.Remove(r.Context(), engine.RemoveOptions{Force: flag(q, "force"), Volumes: flag(q, "v")}))
}

func (a *api) inspect(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	in := c.Inspect()
	if flag(r.URL.Query(), "size") {
		rw, root := c.Size()
		in.SizeRw, in.SizeRootFs = &rw, &root
	}
	if speaks(r, "1.52") {
		return writeJSON(w, http.StatusOK, in)
	}
	return writeJSON(w, http.StatusOK, older(in))
}

// olderInspect is what clients of before API 1.52 look for beside what is there now.
type olderInspect struct {
	*container.InspectResponse
	NetworkSettings olderNetwork
}

type olderNetwork struct {
	*container.NetworkSettings
	Bridge                 string
	HairpinMode            bool
	LinkLocalIPv6Address   string
	LinkLocalIPv6PrefixLen int
	SecondaryIPAddresses   []string
	SecondaryIPv6Addresses []string
	EndpointID             string
	Gateway                string
	GlobalIPv6Address      string
	GlobalIPv6PrefixLen    int
	IPAddress              string
	IPPrefixLen            int
	IPv6Gateway            string
	MacAddress             string
}

// older fills in the addresses in the usual network, which stood beside the list of networks.
func older(in *container.InspectResponse) olderInspect {
	n := olderNetwork{NetworkSettings: in.NetworkSettings}
	if e := in.NetworkSettings.Networks["bridge"]; e != nil {
		n.EndpointID, n.MacAddress, n.IPPrefixLen = e.EndpointID, e.MacAddress.String(), e.IPPrefixLen
		if e.IPAddress.IsValid() {
			n.IPAddress = e.IPAddress.String()
		}
		if e.Gateway.IsValid() {
			n.Gateway = e.Gateway.String()
		}
	}
	return olderInspect{in, n}
}

// wait answers at once that it waits, so that a client can go on and start the container.
func (a *api) wait(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	condition := container.WaitCondition(r.URL.Query().Get("condition"))
	switch condition {
	case "":
		condition = container.WaitConditionNotRunning
	case container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
	default:
		return statusErrorf(http.StatusBadRequest, "invalid condition: %q", condition)
	}
	end, err := c.Wait(r.Context(), condition)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flush(w)
	select {
	case e := <-end:
		return encode(w, container.WaitResponse{StatusCode: int64(e.Code)})
	case <-r.Context().Done():
	}
	return nil
}

func (a *api) resize(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	rows, columns, err := size(r)
	if err != nil {
		return err
	}
	if err := c.Resize(rows, columns); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func size(r *http.Request) (rows, columns uint16, err error) {
	h, err := number(r.URL.Query(), "h")
	if err != nil {
		return 0, 0, err
	}
	c, err := number(r.URL.Query(), "w")
	if err != nil {
		return 0, 0, err
	}
	if h == nil || c == nil || *h < 0 || *c < 0 || *h > 0xffff || *c > 0xffff {
		return 0, 0, statusErrorf(http.StatusBadRequest, "invalid size of a terminal: want h and w")
	}
	return uint16(*h), uint16(*c), nil
}

func (a *api) update(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	var req container.UpdateConfig
	if err := readJSON(r, &req); err != nil {
		return err
	}
	if err := c.Update(&req); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, container.UpdateResponse{Warnings: []string{}})
}

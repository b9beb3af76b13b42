package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"tare.dev/tare/internal/network"
	"tare.dev/tare/internal/order"
)

// Network is one that containers can be in.
type Network struct {
	network.Network
	Created    time.Time `json:"created,omitzero"`
	Attachable bool      `json:"attachable,omitempty"` // nothing to us; those who asked read it back
}

// Predefined tells whether it is one that is always there.
func (n *Network) Predefined() bool {
	return slices.Contains([]string{network.Bridge, network.Host, network.None}, n.Name)
}

// networks is which there are. What is in them, and the kernel's part, package network knows.
type networks struct {
	e *Engine
	m *network.Manager

	// mu guards all; the manager's own lock comes under it.
	mu  sync.Mutex
	all []Network // the predefined first, then as they were made

	linking sync.Mutex // while the links of a network are set
}

// heldNetwork is the name under which the keeper holds the sockets of the resolver.
const heldNetwork = "network"

// openNetworks reads what is on flash and in memory. The kernel's part is taken over by recover.
func openNetworks(e *Engine) (*networks, error) {
	n := &networks{e: e}
	for _, name := range []string{network.Bridge, network.Host, network.None} {
		n.all = append(n.all, predefined(name))
	}
	if err := os.MkdirAll(n.dir(), 0o711); err != nil {
		return nil, err
	}
	if err := n.load(); err != nil {
		return nil, err
	}
	files, err := e.keep.Get(heldNetwork)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	n.m, err = network.Open(filepath.Join(e.o.Run, "network"), network.Options{
		Files: files, Log: func(format string, args ...any) { e.log.Warn(fmt.Sprintf(format, args...)) },
	})
	return n, err
}

// predefined is a network that is always there. It costs no flash, so its id is made of its name.
func predefined(name string) Network {
	sum := sha256.Sum256([]byte("tare network " + name))
	n := Network{Network: network.Network{ID: hex.EncodeToString(sum[:]), Name: name, Driver: name}}
	if name == network.Bridge {
		n.Options = map[string]string{"com.docker.network.bridge.name": "tare0"}
	}
	return n
}

func (n *networks) dir() string { return filepath.Join(n.e.o.Root, "engine", "networks") }

func (n *networks) path(id string) string { return filepath.Join(n.dir(), id+".json") }

// load reads the records on flash. One that cannot be read is left where it is.
func (n *networks) load() error {
	paths, err := filepath.Glob(filepath.Join(n.dir(), "*.json"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		var one Network
		err := readJSON(path, &one)
		if err == nil && (one.ID == "" || one.Name == "") {
			err = errors.New("it is not whole")
		}
		if err != nil {
			n.e.log.Error("read a network's record", "path", path, "error", err)
			continue
		}
		n.all = append(n.all, one)
	}
	order.Stably(n.all, func(a, b Network) int { return a.Created.Compare(b.Created) })
	return nil
}

// save writes the record, with the addresses that were chosen: a boot makes the network with the same.
func (n *networks) save(one Network) error {
	text, err := json.Marshal(one)
	if err != nil {
		return err
	}
	return writeLasting(n.path(one.ID), text)
}

// close leaves what the kernel has to the containers that go on.
func (n *networks) close() error { return n.m.Close() }

// hold gives the keeper what the next engine needs.
func (n *networks) hold() {
	files := n.m.Files()
	if len(files) == 0 {
		return
	}
	if err := n.e.keep.Put(heldNetwork, files...); err != nil {
		n.e.log.Error("have the keeper hold the resolver's sockets", "error", err)
	}
}

// recover takes over what is in the kernel, for the containers that run, and makes what is not. The
// default bridge is made when the first container wants it: most devices' containers never do.
func (n *networks) recover(running []*Container) {
	ids := make([]string, 0, len(running))
	for _, c := range running {
		ids = append(ids, c.id)
	}
	var want []network.Network
	for _, one := range n.list() {
		if one.Name == network.Bridge && !n.made(one.ID) {
			continue
		}
		if made, err := n.m.Get(one.ID); err == nil {
			one.Links = made.Links // not on flash: they are its members'
		}
		want = append(want, one.Network)
	}
	if err := n.m.Recover(want, ids); err != nil {
		n.e.log.Error("take over networks", "error", err)
	}
	for i := range want {
		if err := n.link(want[i].ID); err != nil {
			n.e.log.Error("set the links of a network", "network", want[i].Name, "error", err)
		}
	}
	n.hold()
}

// made tells whether the manager has a network.
func (n *networks) made(id string) bool {
	_, err := n.m.Get(id)
	return err == nil
}

// ensure makes the kernel's part of a network that has none yet.
func (n *networks) ensure(one Network) error {
	if n.made(one.ID) {
		return nil
	}
	if _, err := n.m.Create(one.Network); err != nil {
		return networkError(err)
	}
	n.hold()
	return nil
}

func (n *networks) list() []Network {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.all)
}

// find finds a network by its name, its id, or the beginning of its id.
func (n *networks) find(name string) (Network, error) {
	if name == "default" {
		name = network.Bridge
	}
	var found []Network
	for _, one := range n.list() {
		if one.Name == name || one.ID == name {
			return n.current(one), nil
		}
		if name != "" && strings.HasPrefix(one.ID, name) {
			found = append(found, one)
		}
	}
	switch len(found) {
	case 1:
		return n.current(found[0]), nil
	case 0:
		return Network{}, Errorf(NotFound, "network %s not found", name)
	}
	return Network{}, Errorf(Invalid, "network %s is ambiguous (%d matches found based on ID prefix)", name, len(found))
}

// current is a network with the addresses that were chosen for it.
func (n *networks) current(one Network) Network {
	if made, err := n.m.Get(one.ID); err == nil {
		one.Network = made
	}
	return one
}

// Networks lists the networks.
func (e *Engine) Networks() []Network {
	all := e.nets.list()
	for i := range all {
		all[i] = e.nets.current(all[i])
	}
	return all
}

// Network finds a network by its name, its id, or the beginning of its id.
func (e *Engine) Network(name string) (Network, error) { return e.nets.find(name) }

// CreateNetwork makes a network. What is left out of it is chosen.
func (e *Engine) CreateNetwork(want Network) (Network, error) {
	n := e.nets
	n.mu.Lock()
	defer n.mu.Unlock()
	if !validName(want.Name) {
		return want, Errorf(Invalid, "invalid network name %q: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", want.Name)
	}
	if want.Name == "default" {
		return want, Errorf(Forbidden, "operation is not permitted on predefined %s network", want.Name)
	}
	for _, one := range n.all {
		if one.Name == want.Name {
			return want, Errorf(Conflict, "network with name %s already exists", want.Name)
		}
	}
	if want.Driver == network.Host || want.Driver == network.None {
		return want, Errorf(Forbidden, "only one instance of %q network is allowed", want.Driver)
	}
	if err := checkOption(&want.Network); err != nil {
		return want, err
	}
	want.ID, want.Created = newID(), time.Now().UTC()
	made, err := n.m.Create(want.Network)
	if err != nil {
		return want, networkError(err)
	}
	want.Network = made
	if err := n.save(want); err != nil {
		return want, errors.Join(err, n.m.Remove(want.ID))
	}
	n.all = append(n.all, want)
	n.hold()
	e.Publish("network", "create", want.ID, map[string]string{"name": want.Name, "type": want.Driver})
	return want, nil
}

// RemoveNetwork removes a network that no running container is in.
func (e *Engine) RemoveNetwork(name string) error {
	n := e.nets
	one, err := n.find(name)
	if err != nil {
		return err
	}
	if one.Predefined() {
		return Errorf(Forbidden, "%s is a pre-defined network and cannot be removed", one.Name)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.m.Remove(one.ID); err != nil && !errors.Is(err, network.ErrNotFound) {
		return networkError(err)
	}
	if err := os.Remove(n.path(one.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	n.all = slices.DeleteFunc(n.all, func(o Network) bool { return o.ID == one.ID })
	n.hold()
	e.Publish("network", "destroy", one.ID, map[string]string{"name": one.Name, "type": one.Driver})
	return nil
}

// UsersOfNetwork is the ids of the containers that are in a network, or will be when they are started.
func (e *Engine) UsersOfNetwork(id string) []string {
	one, err := e.nets.find(id)
	if err != nil {
		return nil
	}
	return e.users(func(v View) bool { _, ok := v.Networks[one.Name]; return ok })
}

// networkError gives an error of package network its kind.
func networkError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, network.ErrNotFound):
		return &Error{NotFound, err}
	case errors.Is(err, network.ErrInUse):
		return &Error{Forbidden, err}
	case errors.Is(err, network.ErrExists):
		return &Error{Conflict, err}
	case errors.Is(err, network.ErrInvalid):
		return &Error{Invalid, err}
	case errors.Is(err, network.ErrNoNetfilter):
		return &Error{NotOffered, err}
	}
	return err
}

// gateway is where the host is reached from a network; zero without one.
func gateway(v View) netip.Addr {
	for _, name := range networkOrder(v.Record) {
		if at := v.Attached[name]; at != nil && at.Gateway.IsValid() {
			return at.Gateway
		}
	}
	return netip.Addr{}
}

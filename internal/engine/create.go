package engine

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/store"
)

// CreateOptions is what a container is made of.
type CreateOptions struct {
	Name     string // "" is one of ours
	Platform string // "os/arch": what the image has to be for; "" is any
	Config   *container.Config
	Host     *container.HostConfig
	Networks map[string]*network.EndpointSettings
}

// Create makes a container. Nothing runs yet.
func (e *Engine) Create(o CreateOptions) (id string, warnings []string, err error) {
	if o.Config == nil {
		return "", nil, Errorf(Invalid, "config cannot be empty in order to create a container")
	}
	if o.Host == nil {
		o.Host = &container.HostConfig{}
	}
	r := &Record{ID: newID(), Name: strings.TrimPrefix(o.Name, "/"), Created: time.Now().UTC(), Config: o.Config, Host: o.Host, Networks: o.Networks}
	if err := checkCreate(r); err != nil {
		return "", nil, err
	}
	image, config, err := findImage(e.store, o.Config.Image, o.Platform)
	if err != nil {
		return "", nil, err
	}
	r.Image = image.Digest.String()
	merge(r.Config, &config)
	if err := mergeMore(r.Config, image); err != nil {
		return "", nil, err
	}
	if len(r.Config.Entrypoint) == 0 && len(r.Config.Cmd) == 0 {
		return "", nil, Errorf(Invalid, "no command specified")
	}
	if err := e.resolveMounts(r); err != nil {
		return "", nil, err
	}
	return e.add(r, image)
}

// add makes the container's place and record.
func (e *Engine) add(r *Record, image *store.Image) (id string, warnings []string, err error) {
	m := Memory{State: container.StateCreated}
	m.because("created", byClient)
	c := e.newContainer(r, m)
	if err := e.name(c, r); err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			e.unregister(c)
			_ = e.removeRecord(r)
			if c.in != nil {
				err = errors.Join(err, c.in.Remove())
			}
		}
	}()
	if c.in, err = e.place(r.ID); err != nil {
		return "", nil, err
	}
	if err := c.in.Use(image); err != nil {
		return "", nil, err
	}
	// What is not found here clients take for the image: the start says that a network is not there.
	switch err := e.nets.check(r); {
	case KindOf(err) == NotFound && err != nil:
		r.Networks = maps.Clone(r.Networks)
		if r.Networks == nil {
			r.Networks = map[string]*network.EndpointSettings{}
		}
		if mode := string(r.Host.NetworkMode); r.Networks[mode] == nil {
			r.Networks[mode] = &network.EndpointSettings{}
		}
	case err != nil:
		return "", nil, err
	}
	if err := errors.Join(c.saveMemory(), e.saveRecord(r)); err != nil {
		return "", nil, fmt.Errorf("create %s: %w", r.ID, err)
	}
	go c.own()
	c.publish("create")
	return r.ID, []string{}, nil
}

// name registers the container under the name it is to have, or one that is free.
func (e *Engine) name(c *Container, r *Record) error {
	if r.Name != "" {
		return e.register(c, r.Name)
	}
	for range 20 {
		r.Name = randomName()
		if err := e.register(c, r.Name); err == nil {
			return nil
		}
	}
	r.Name = r.ID[:12]
	return e.register(c, r.Name)
}

// findImage finds the image of a name, by the rules that people know from docker.
func findImage(st *store.Store, name, platform string) (*store.Image, v1.Image, error) {
	var i *store.Image
	err := error(store.ErrNotFound)
	if ref, perr := reference.Parse(name); perr == nil {
		i, err = st.Find(ref.String())
	}
	if err != nil {
		i, err = st.Find(name)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, v1.Image{}, Errorf(NotFound, "No such image: %s", tagged(name))
	}
	if err != nil {
		return nil, v1.Image{}, err
	}
	config, _, err := i.Config()
	if err != nil {
		return nil, config, err
	}
	if os, arch, _ := strings.Cut(platform, "/"); platform != "" {
		arch, _, _ = strings.Cut(arch, "/")
		if os != config.OS || arch != "" && arch != config.Architecture {
			return nil, config, Errorf(NotFound, "image with reference %s was found but its platform (%s/%s) does not match the specified platform (%s)",
				name, config.OS, config.Architecture, platform)
		}
	}
	return i, config, nil
}

// tagged adds the tag that a name without one has.
func tagged(name string) string {
	if last := path.Base(name); !strings.ContainsAny(last, ":@") {
		return name + ":latest"
	}
	return name
}

// merge fills in what the request leaves to the image.
func merge(c *container.Config, image *v1.Image) {
	i := image.Config
	if c.User == "" {
		c.User = i.User
	}
	if c.WorkingDir == "" {
		c.WorkingDir = i.WorkingDir
	}
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = i.Cmd
		}
		if c.Entrypoint == nil {
			c.Entrypoint = i.Entrypoint
		}
	}
	if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" { // --entrypoint ""
		c.Entrypoint = nil
	}
	if c.StopSignal == "" {
		c.StopSignal = i.StopSignal
	}
	c.Env = mergeEnv(i.Env, c.Env)
	for port := range i.ExposedPorts {
		p, err := network.ParsePort(port)
		if err != nil {
			continue // what an image writes there is a hint
		}
		if c.ExposedPorts == nil {
			c.ExposedPorts = network.PortSet{}
		}
		c.ExposedPorts[p] = struct{}{}
	}
	for at := range i.Volumes {
		if c.Volumes == nil {
			c.Volumes = map[string]struct{}{}
		}
		c.Volumes[at] = struct{}{}
	}
	for k, v := range i.Labels {
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		if _, ok := c.Labels[k]; !ok && k != KeyLinks { // whom it reaches is not for who built it to say
			c.Labels[k] = v
		}
	}
}

// mergeMore fills in what docker's images have beside those of OCI: moby/docker-image-spec.
func mergeMore(c *container.Config, image *store.Image) error {
	_, text, err := image.Config()
	if err != nil {
		return err
	}
	var more struct {
		Config struct {
			Healthcheck *container.HealthConfig
			StopTimeout *int
			Shell       []string
		} `json:"config"`
	}
	if err := json.Unmarshal(text, &more); err != nil {
		return fmt.Errorf("config of image %s: %w", image.Digest, err)
	}
	if c.StopTimeout == nil {
		c.StopTimeout = more.Config.StopTimeout
	}
	if len(c.Shell) == 0 {
		c.Shell = more.Config.Shell
	}
	switch theirs := more.Config.Healthcheck; {
	case c.Healthcheck == nil:
		c.Healthcheck = theirs
	case theirs != nil:
		own := c.Healthcheck
		if len(own.Test) == 0 {
			own.Test = theirs.Test
		}
		own.Interval, own.Timeout = cmp.Or(own.Interval, theirs.Interval), cmp.Or(own.Timeout, theirs.Timeout)
		own.StartPeriod, own.StartInterval = cmp.Or(own.StartPeriod, theirs.StartPeriod), cmp.Or(own.StartInterval, theirs.StartInterval)
		own.Retries = cmp.Or(own.Retries, theirs.Retries)
	}
	return nil
}

// mergeEnv: a name without a value takes the variable away.
func mergeEnv(image, own []string) []string {
	const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	all := append(append([]string{path}, image...), own...)
	at := map[string]int{}
	var out []string
	for _, kv := range all {
		name, _, ok := strings.Cut(kv, "=")
		i, seen := at[name]
		switch {
		case seen && ok:
			out[i] = kv
		case seen:
			out[i] = ""
		case ok:
			at[name] = len(out)
			out = append(out, kv)
		}
	}
	kept := out[:0]
	for _, kv := range out {
		if kv != "" {
			kept = append(kept, kv)
		}
	}
	return kept
}

func checkCreate(r *Record) error {
	if r.Name != "" && !validName(r.Name) {
		return Errorf(Invalid, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", r.Name)
	}
	if r.Config.Image == "" {
		return Errorf(Invalid, "no image specified")
	}
	if err := checkImportance(r); err != nil {
		return err
	}
	if err := checkLinks(r); err != nil {
		return err
	}
	if w := r.Config.WorkingDir; w != "" && !path.IsAbs(w) {
		return Errorf(Invalid, "the working directory '%s' is invalid, it needs to be an absolute path", w)
	}
	if r.Config.StopSignal != "" && signalNumber(r.Config.StopSignal) == 0 {
		return Errorf(Invalid, "invalid signal: %s", r.Config.StopSignal)
	}
	if err := container.ValidateRestartPolicy(r.Host.RestartPolicy); err != nil {
		return &Error{Invalid, err}
	}
	if r.Host.AutoRemove && !r.Host.RestartPolicy.IsNone() {
		return Errorf(Invalid, "can't create 'AutoRemove' container with restart policy")
	}
	if r.Host.RestartPolicy.Name == "" {
		r.Host.RestartPolicy.Name = container.RestartPolicyDisabled
	}
	if r.Host.LogConfig.Type == "" {
		// docker-py reads the output of those alone whose driver can be read.
		r.Host.LogConfig = container.LogConfig{Type: "json-file", Config: map[string]string{}}
	}
	if r.Host.NetworkMode == "" {
		r.Host.NetworkMode = "default"
	}
	for name, s := range r.Networks {
		if s == nil { // null in JSON
			r.Networks[name] = &network.EndpointSettings{}
		}
	}
	if r.Host.ShmSize < 0 {
		return Errorf(Invalid, "SHM size can not be less than 0")
	}
	if r.Host.ShmSize == 0 {
		r.Host.ShmSize = 64 << 20
	}
	for _, l := range r.Host.Links {
		if name, _, _ := strings.Cut(l, ":"); name == "" {
			return Errorf(Invalid, "bad format for links: %s", l)
		}
	}
	if r.Config.Hostname == "" && !r.Host.UTSMode.IsHost() && !r.Host.NetworkMode.IsHost() {
		r.Config.Hostname = r.ID[:12]
	}
	_, err := resources(&r.Host.Resources)
	return err
}

func validName(s string) bool {
	if len(s) < 2 {
		return false
	}
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return true
}

func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// randomName is of two words that people can say.
func randomName() string {
	left := strings.Fields("able bold brave calm clear cool deft eager fair fast fine fond free glad good keen kind light lucid mild neat " +
		"nimble plain proud quick quiet sharp silent sleek smart snug solid spry steady still sure swift tidy warm wise")
	right := strings.Fields("anvil barge beam bell boat bolt brook buoy cargo cask cedar clamp coil comet crane crate creek dock ferry " +
		"flint gear grain harbor hull jetty kite ledge lever mast mill oak otter pallet pier plank quay raft reef scale sloop spool tide wagon wharf")
	var b [2]byte
	_, _ = rand.Read(b[:])
	return left[int(b[0])%len(left)] + "_" + right[int(b[1])%len(right)]
}

// signalNumber reads "SIGTERM", "term" or "15"; 0 is none.
func signalNumber(s string) unix.Signal {
	n := 0
	if _, err := fmt.Sscanf(s, "%d", &n); err == nil {
		if n < 1 || n > 64 {
			return 0
		}
		return unix.Signal(n)
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if rest, ok := strings.CutPrefix(name, "SIGRTMIN"); ok {
		n := 0
		if rest != "" {
			if _, err := fmt.Sscanf(rest, "+%d", &n); err != nil || n < 0 || n > 30 {
				return 0
			}
		}
		return unix.Signal(34 + n)
	}
	return unix.SignalNum(name)
}

package enginecli

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/console"
	"tare.dev/tare/internal/instance"
)

// request is what was asked for in the API's words.
func (r *run) request(c *cli.Call) (*container.CreateRequest, error) {
	r.Image, r.Cmd = c.Args[0], c.Args[1:]
	r.StdinOnce = !r.detach && r.takesInput(c)
	r.OpenStdin = r.interactive || r.StdinOnce
	r.AttachStdin, r.AttachStdout, r.AttachStderr = r.StdinOnce, !r.detach, !r.detach
	if c.Given("entrypoint") {
		r.Entrypoint = []string{r.entrypoint}
	}
	if c.Given("stop-timeout") {
		r.StopTimeout = &r.stopTimeout
	}
	if c.Given("init") {
		r.host.Init = &r.init
	}
	for _, step := range []func(*cli.Call) error{r.texts, r.limits, r.places, r.rights, r.ports} {
		if err := step(c); err != nil {
			return nil, err
		}
	}
	var err error
	if r.Healthcheck, err = r.health.config(c); err != nil {
		return nil, err
	}
	endpoints, err := r.endpoints()
	if err != nil {
		return nil, err
	}
	if at := consoleSize(c); r.Tty && at != nil {
		r.host.ConsoleSize = *at
	}
	return &container.CreateRequest{Config: &r.Config, HostConfig: &r.host, NetworkingConfig: endpoints}, nil
}

// takesInput: what is typed at a terminal is the container's only when it is asked for, or it would be lost
// to the shell, and a job in the background would be stopped for reading it.
func (r *run) takesInput(c *cli.Call) bool {
	in, ok := c.In.(*os.File)
	return r.interactive || r.Tty || !ok || !console.Is(in)
}

// texts are environment, labels and restarts.
func (r *run) texts(*cli.Call) error {
	for _, file := range r.envFiles {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("--env-file: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				r.Env = append(r.Env, line)
			}
		}
	}
	r.Env = append(r.Env, r.env...)
	for n, e := range r.Env {
		if !strings.Contains(e, "=") { // as it is here
			r.Env[n] = e + "=" + os.Getenv(e)
		}
	}
	r.Labels = map[string]string{}
	for _, l := range r.labels {
		key, value, _ := strings.Cut(l, "=")
		r.Labels[key] = value
	}
	policy, err := parseRestart(r.restart)
	r.host.RestartPolicy = policy
	return err
}

// parseRestart reads a restart policy: NAME or on-failure:TIMES.
func parseRestart(s string) (container.RestartPolicy, error) {
	name, times, counted := strings.Cut(s, ":")
	p := container.RestartPolicy{Name: container.RestartPolicyMode(name)}
	switch p.Name {
	case "":
		p.Name = container.RestartPolicyDisabled
	case container.RestartPolicyDisabled, container.RestartPolicyAlways, container.RestartPolicyUnlessStopped, container.RestartPolicyOnFailure:
	default:
		return p, fmt.Errorf("--restart %s: want no, always, unless-stopped or on-failure[:TIMES]", s)
	}
	if counted {
		n, err := strconv.Atoi(times)
		if err != nil || n < 0 || p.Name != container.RestartPolicyOnFailure {
			return p, fmt.Errorf("--restart %s: want on-failure:TIMES", s)
		}
		p.MaximumRetryCount = n
	}
	return p, nil
}

func (r *run) limits(c *cli.Call) error {
	for flag, one := range map[string]struct {
		text string
		to   *int64
	}{"memory": {r.memory, &r.host.Memory}, "shm-size": {r.shm, &r.host.ShmSize}, "memory-swap": {r.swap, &r.host.MemorySwap}} {
		if one.text == "" {
			continue
		}
		if flag == "memory-swap" && one.text == "-1" {
			*one.to = -1
			continue
		}
		n, err := instance.ParseSize(one.text)
		if err != nil {
			return fmt.Errorf("--%s: %w", flag, err)
		}
		*one.to = n
	}
	if r.cpus != "" {
		n, err := strconv.ParseFloat(r.cpus, 64)
		if err != nil || n < 0.01 || n > 4096 {
			return fmt.Errorf("--cpus %s: want a number of 0.01 or more", r.cpus)
		}
		r.host.NanoCPUs = int64(n * 1e9)
	}
	if c.Given("pids-limit") {
		n := int64(r.pids)
		r.host.PidsLimit = &n
	}
	for _, text := range r.ulimits {
		u, err := parseUlimit(text)
		if err != nil {
			return err
		}
		r.host.Ulimits = append(r.host.Ulimits, u)
	}
	return nil
}

func parseUlimit(text string) (*container.Ulimit, error) {
	name, values, _ := strings.Cut(text, "=")
	soft, hard, two := strings.Cut(values, ":")
	if !two {
		hard = soft
	}
	s, err1 := strconv.ParseInt(soft, 10, 64)
	h, err2 := strconv.ParseInt(hard, 10, 64)
	if name == "" || err1 != nil || err2 != nil {
		return nil, fmt.Errorf("--ulimit %s: want NAME=SOFT[:HARD]", text)
	}
	return &container.Ulimit{Name: name, Soft: s, Hard: h}, nil
}

// places are what is mounted. Paths of the host are the caller's: the engine has another working directory.
func (r *run) places(*cli.Call) error {
	for n, v := range r.host.Binds {
		source, rest, ok := strings.Cut(v, ":")
		if !ok {
			r.Volumes = setMember(r.Volumes, v) // a volume without a name
			r.host.Binds[n] = ""
			continue
		}
		if strings.HasPrefix(source, ".") || strings.Contains(source, "/") {
			at, err := filepath.Abs(source)
			if err != nil {
				return fmt.Errorf("--volume %s: %w", v, err)
			}
			r.host.Binds[n] = at + ":" + rest
		}
	}
	r.host.Binds = slices.DeleteFunc(r.host.Binds, func(v string) bool { return v == "" })
	for _, t := range r.tmpfs {
		at, options, _ := strings.Cut(t, ":")
		if r.host.Tmpfs == nil {
			r.host.Tmpfs = map[string]string{}
		}
		r.host.Tmpfs[at] = options
	}
	return nil
}

func setMember(set map[string]struct{}, key string) map[string]struct{} {
	if set == nil {
		set = map[string]struct{}{}
	}
	set[key] = struct{}{}
	return set
}

// rights: little is allowed unless it is asked for. The API's own default is docker's, which is more.
func (r *run) rights(*cli.Call) error {
	for _, text := range r.devices {
		d := container.DeviceMapping{CgroupPermissions: "rwm"}
		f := strings.Split(text, ":")
		if len(f) > 3 || f[0] == "" {
			return fmt.Errorf("--device %s: want DEVICE[:PATH[:rwm]]", text)
		}
		d.PathOnHost, d.PathInContainer = f[0], f[0]
		if len(f) > 1 {
			d.PathInContainer = f[1]
		}
		if len(f) > 2 {
			d.CgroupPermissions = f[2]
		}
		r.host.Devices = append(r.host.Devices, d)
	}
	for _, text := range r.sysctls {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return fmt.Errorf("--sysctl %s: want NAME=VALUE", text)
		}
		if r.host.Sysctls == nil {
			r.host.Sysctls = map[string]string{}
		}
		r.host.Sysctls[key] = value
	}
	if r.host.Privileged {
		return nil
	}
	r.host.CapAdd = append(few(), r.host.CapAdd...)
	r.host.CapDrop = append(r.host.CapDrop, "ALL")
	dropped := func(name string) bool {
		return slices.ContainsFunc(r.host.CapDrop, func(d string) bool {
			return strings.TrimPrefix(strings.ToUpper(d), "CAP_") == name
		})
	}
	r.host.CapAdd = slices.DeleteFunc(r.host.CapAdd, dropped)
	if !slices.ContainsFunc(r.host.SecurityOpt, func(o string) bool { return strings.HasPrefix(o, "no-new-privileges") }) {
		r.host.SecurityOpt = append(r.host.SecurityOpt, "no-new-privileges")
	}
	return readProfile(r.host.SecurityOpt)
}

// readProfile puts the text of a seccomp profile in the place of its file, as the API wants it.
func readProfile(options []string) error {
	for n, o := range options {
		file, ok := strings.CutPrefix(o, "seccomp=")
		if !ok || file == "unconfined" || file == "builtin" || strings.HasPrefix(file, "{") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("--security-opt: %w", err)
		}
		options[n] = "seccomp=" + string(text)
	}
	return nil
}

// endpoints is the network: none unless it is asked for, or needed by ports.
func (r *run) endpoints() (*network.NetworkingConfig, error) {
	if r.network == "" {
		r.network = "none"
		if len(r.publish) > 0 || r.host.PublishAllPorts {
			r.network = "bridge"
		}
	}
	r.host.NetworkMode = container.NetworkMode(r.network)
	for _, text := range r.dns {
		at, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("--dns: %w", err)
		}
		r.host.DNS = append(r.host.DNS, at)
	}
	if len(r.aliases) == 0 && r.ip == "" {
		return nil, nil
	}
	if slices.Contains([]string{"none", "host", "bridge"}, r.network) {
		return nil, errors.New("--network-alias and --ip: want a --network of your own")
	}
	e := &network.EndpointSettings{Aliases: r.aliases}
	if r.ip != "" {
		at, err := netip.ParseAddr(r.ip)
		if err != nil {
			return nil, fmt.Errorf("--ip: %w", err)
		}
		e.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: at}
	}
	return &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{r.network: e}}, nil
}

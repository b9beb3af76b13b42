package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/internal/bundle"
	"tare.dev/tare/internal/instance"
	"tare.dev/tare/internal/order"
)

// spec makes the config.json of a start. netns is the path of its network namespace; "" is the host's.
func (c *Container) spec(netns string) (*specs.Spec, error) {
	r := c.View().Record
	accounts, err := instance.Accounts(c.in.Rootfs())
	if err != nil {
		return nil, err
	}
	s, err := bundle.Spec(imageConfig(r), accounts, bundle.Options{
		ID: r.ID, Rootfs: c.in.Rootfs(), Hostname: hostname(r), Terminal: r.Config.Tty,
		ReadOnly: r.Host.ReadonlyRootfs, HostNet: netns == "",
	})
	if err != nil {
		return nil, &Error{Invalid, err}
	}
	addOwnGroup(&s.Process.User)
	setHome(s.Process, accounts)
	s.Hostname = hostname(r)
	s.Domainname = r.Config.Domainname
	if u := r.Host.Umask; u != nil {
		s.Process.User.Umask = u
	}
	if err := addGroups(s, accounts, r.Host.GroupAdd); err != nil {
		return nil, &Error{Invalid, err}
	}
	s.Annotations = r.Host.Annotations
	if err := c.confine(s, netns); err != nil {
		return nil, err
	}
	if err := c.mounts(s); err != nil {
		return nil, err
	}
	if wantsInit(r) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: initPath, Type: "bind", Source: c.e.o.Program, Options: []string{"bind", "ro"}})
		s.Process.Args = append([]string{initPath, "--"}, s.Process.Args...)
	}
	return s, nil
}

// initPath is where a container with --init finds this program; its name makes it the init.
const initPath = "/sbin/docker-init"

func wantsInit(r *Record) bool { return r.Host.Init != nil && *r.Host.Init }

// imageConfig is what the container was made with as an image has it: the API merges both.
func imageConfig(r *Record) v1.ImageConfig {
	env := r.Config.Env
	if name := hostname(r); name != "" {
		env = append([]string{"HOSTNAME=" + name}, env...)
	}
	return v1.ImageConfig{
		User: r.Config.User, Env: env, Entrypoint: r.Config.Entrypoint, Cmd: r.Config.Cmd, WorkingDir: r.Config.WorkingDir,
	}
}

func hostname(r *Record) string {
	switch {
	case r.Host.UTSMode.IsHost():
		return ""
	case r.Config.Hostname != "":
		return r.Config.Hostname
	}
	return r.ID[:12]
}

// addGroups takes names and numbers.
func addGroups(s *specs.Spec, a bundle.Accounts, groups []string) error {
	for _, g := range groups {
		u, err := userOf(a, "0:"+g)
		if err != nil {
			return err
		}
		if !slices.Contains(s.Process.User.AdditionalGids, u.GID) {
			s.Process.User.AdditionalGids = append(s.Process.User.AdditionalGids, u.GID)
		}
	}
	return nil
}

// userOf finds who USER[:GROUP] is.
func userOf(a bundle.Accounts, name string) (specs.User, error) {
	s, err := bundle.Spec(v1.ImageConfig{User: name, Cmd: []string{"-"}}, a, bundle.Options{ID: "-"})
	if err != nil {
		name, _, _ = strings.Cut(name, ":")
		return specs.User{}, Errorf(Invalid, "unable to find user %s: no matching entries in passwd file (%w)", name, err)
	}
	addOwnGroup(&s.Process.User)
	return s.Process.User, nil
}

// addOwnGroup puts a user's own group among the further ones, as docker does: a program that drops its
// group must not gain by it (CVE-2022-36109).
func addOwnGroup(u *specs.User) {
	if !slices.Contains(u.AdditionalGids, u.GID) {
		u.AdditionalGids = append([]uint32{u.GID}, u.AdditionalGids...)
	}
}

// confine sets namespaces, capabilities, limits and what is hidden.
func (c *Container) confine(s *specs.Spec, netns string) error {
	r := c.View().Record
	h := r.Host
	if err := capabilities(s, h); err != nil {
		return err
	}
	if err := c.namespaces(s, netns); err != nil {
		return err
	}
	score := oomScoreAdj(r)
	s.Process.OOMScoreAdj = &score
	for _, u := range h.Ulimits {
		s.Process.Rlimits = append(s.Process.Rlimits, specs.POSIXRlimit{
			Type: "RLIMIT_" + strings.ToUpper(u.Name), Hard: uint64(u.Hard), Soft: uint64(u.Soft),
		})
	}
	if len(h.Sysctls) > 0 {
		s.Linux.Sysctl = h.Sysctls
	}
	if h.CgroupParent != "" {
		s.Linux.CgroupsPath = filepath.Join("/", h.CgroupParent, r.ID)
	}
	if h.Privileged {
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
	}
	if h.MaskedPaths != nil {
		s.Linux.MaskedPaths = h.MaskedPaths
	}
	if h.ReadonlyPaths != nil {
		s.Linux.ReadonlyPaths = h.ReadonlyPaths
	}
	setSeccomp(s, h)
	if err := security(s, h); err != nil {
		return err
	}
	var err error
	if s.Linux.Resources, err = resources(&h.Resources); err != nil {
		return err
	}
	if cpus := c.e.sharedCPUs(); cpus != "" && h.CpusetCpus == "" {
		if s.Linux.Resources.CPU == nil {
			s.Linux.Resources.CPU = &specs.LinuxCPU{}
		}
		s.Linux.Resources.CPU.Cpus = cpus
	}
	return devices(s, h)
}

// namespaces takes those away that the container shares with the host, and joins those of others.
func (c *Container) namespaces(s *specs.Spec, netns string) error {
	h := c.View().Host
	drop := func(t specs.LinuxNamespaceType) {
		s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == t })
	}
	join := func(t specs.LinuxNamespaceType, path string) {
		drop(t)
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: t, Path: path})
	}
	if netns != "" {
		join(specs.NetworkNamespace, netns)
	}
	if h.UTSMode.IsHost() {
		drop(specs.UTSNamespace)
	}
	if h.CgroupnsMode.IsHost() {
		drop(specs.CgroupNamespace)
	}
	for _, shared := range []struct {
		is   bool
		of   string
		kind specs.LinuxNamespaceType
		file string
	}{
		{h.PidMode.IsHost(), h.PidMode.Container(), specs.PIDNamespace, "pid"},
		{h.IpcMode.IsHost(), h.IpcMode.Container(), specs.IPCNamespace, "ipc"},
	} {
		switch {
		case shared.is:
			drop(shared.kind)
		case shared.of != "":
			pid, err := c.e.runningPid(shared.of)
			if err != nil {
				return err
			}
			join(shared.kind, fmt.Sprintf("/proc/%d/ns/%s", pid, shared.file))
		}
	}
	return nil
}

// runningPid is the first process of another container.
func (e *Engine) runningPid(name string) (int, error) {
	other, err := e.Find(name)
	if err != nil {
		return 0, err
	}
	v := other.View()
	if !v.Running() {
		return 0, Errorf(Conflict, "cannot join namespace of a non running container: container %s is %s", name, v.State)
	}
	return v.Pid, nil
}

// security reads the --security-opt.
func security(s *specs.Spec, h *container.HostConfig) error {
	s.Process.NoNewPrivileges = false
	for _, o := range h.SecurityOpt {
		key, value, ok := strings.Cut(o, "=")
		if !ok {
			key, value, _ = strings.Cut(o, ":")
		}
		switch key {
		case "no-new-privileges":
			s.Process.NoNewPrivileges = value != "false"
		case "seccomp":
			if err := seccompProfile(s, value); err != nil {
				return err
			}
		case "apparmor", "label", "systempaths", "writable-cgroups":
			if key == "systempaths" && value == "unconfined" {
				s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
			}
		default:
			return Errorf(Invalid, "invalid --security-opt: %q", o)
		}
	}
	return nil
}

// mounts are those of the record, the files of ours, and what the options change of the usual ones.
func (c *Container) mounts(s *specs.Spec) error {
	r := c.View().Record
	h := r.Host
	shm := h.ShmSize
	if shm == 0 {
		shm = 64 << 20
	}
	s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool {
		return h.IpcMode.IsNone() && m.Destination == "/dev/shm" || mountedOver(r, m.Destination)
	})
	for i := range s.Mounts {
		m := &s.Mounts[i]
		switch m.Destination {
		case "/dev/shm":
			if h.IpcMode.IsHost() {
				*m = specs.Mount{Destination: "/dev/shm", Type: "bind", Source: "/dev/shm", Options: []string{"bind", "nosuid", "noexec", "nodev"}}
				break
			}
			m.Options = []string{"nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", shm)}
		case "/dev/mqueue":
			if h.IpcMode.IsHost() {
				*m = specs.Mount{Destination: "/dev/mqueue", Type: "bind", Source: "/dev/mqueue", Options: []string{"bind", "nosuid", "noexec", "nodev"}}
			}
		case "/sys", "/sys/fs/cgroup":
			if h.Privileged {
				m.Options = slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "ro" })
			}
		}
	}
	for _, name := range []string{"resolv.conf", "hostname", "hosts"} {
		if !mountedOver(r, "/etc/"+name) {
			s.Mounts = append(s.Mounts, specs.Mount{
				Destination: "/etc/" + name, Type: "bind", Source: filepath.Join(c.in.Etc(), name), Options: []string{"bind", "rprivate"},
			})
		}
	}
	return c.recordMounts(s)
}

func mountedOver(r *Record, at string) bool {
	for i := range r.Mounts {
		if r.Mounts[i].Destination == at {
			return true
		}
	}
	_, ok := r.Host.Tmpfs[at]
	return ok
}

// recordMounts come sorted by their places: what is mounted on a directory must not hide what is below it.
func (c *Container) recordMounts(s *specs.Spec) error {
	r := c.View().Record
	all := slices.Clone(r.Mounts)
	order.Stably(all, func(a, b Mount) int { return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/") })
	for i := range all {
		m := &all[i]
		if m.Type == "tmpfs" {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: m.Destination, Type: "tmpfs", Source: "tmpfs", Options: m.Options})
			continue
		}
		source := m.Source
		if m.Type == "volume" {
			var err error
			if source, err = c.e.volumePath(m.Name); err != nil {
				return err
			}
			if m.Subpath != "" {
				if source, err = c.holdPart(source, m); err != nil {
					return err
				}
			}
		} else if _, err := os.Stat(source); err != nil {
			return Errorf(Invalid, "invalid mount config for type \"bind\": bind source path does not exist: %s", source)
		}
		propagation := string(m.Propagation)
		if propagation == "" {
			propagation = "rprivate"
		}
		options := append([]string{"rbind", propagation}, m.Options...)
		if !m.RW {
			options = append(options, "ro")
		}
		s.Mounts = append(s.Mounts, specs.Mount{Destination: m.Destination, Type: "bind", Source: source, Options: options})
	}
	return nil
}

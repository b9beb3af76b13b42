// Package bundle turns the config of an image, and what a person asks for, into the
// config.json of an OCI bundle.
//
// It follows OCI image-spec, conversion.md. What a container may do is little unless it is asked
// for: few capabilities, no network but its own loopback, no new privileges.
package bundle

import (
	"errors"
	"fmt"
	"path"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Options are what a person asks for. The zero value runs the image as it is.
type Options struct {
	ID       string
	Rootfs   string // absolute path of the mounted root file system
	Args     []string
	Entry    *string // in place of the image's entry point; "" is none
	Env      []string
	User     string // USER[:GROUP], names or numbers; "" is the image's
	Dir      string // working directory; "" is the image's
	Hostname string // "" is the first 12 characters of ID
	Terminal bool
	ReadOnly bool
	HostNet  bool

	Memory int64   // bytes; 0 is no limit
	CPUs   float64 // 0 is no limit
	Pids   int64   // 0 is no limit
	Mounts []specs.Mount
}

// ErrNoCommand is an image that does not say what to run, when nobody else does.
var ErrNoCommand = errors.New("no command: the image has none and none is given")

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Spec makes the config. accounts are the passwd and group files of the root file system.
func Spec(config v1.ImageConfig, accounts Accounts, o Options) (*specs.Spec, error) {
	args := command(config, o)
	if len(args) == 0 {
		return nil, ErrNoCommand
	}
	user := config.User
	if o.User != "" {
		user = o.User
	}
	who, err := accounts.user(user)
	if err != nil {
		return nil, err
	}
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Terminal: o.Terminal, User: who, Args: args, Env: environment(config, o), Cwd: directory(config, o),
			Capabilities: capabilities(who), NoNewPrivileges: true,
		},
		Root:     &specs.Root{Path: o.Rootfs, Readonly: o.ReadOnly},
		Hostname: hostname(o),
		Mounts:   append(mounts(), o.Mounts...),
		Linux:    linux(o),
	}, nil
}

func command(config v1.ImageConfig, o Options) []string {
	entry, args := config.Entrypoint, config.Cmd
	if o.Entry != nil {
		entry, args = nil, nil
		if *o.Entry != "" {
			entry = []string{*o.Entry}
		}
	}
	if len(o.Args) > 0 {
		args = o.Args
	}
	return append(append([]string{}, entry...), args...)
}

// environment: the last of two equal names counts. A name without a value takes nothing from us:
// what stands in our environment is not the container's business.
func environment(config v1.ImageConfig, o Options) []string {
	all := append([]string{defaultPath}, config.Env...)
	all = append(all, o.Env...)
	if o.Terminal {
		all = append(all, "TERM=xterm")
	}
	at := map[string]int{}
	var out []string
	for _, kv := range all {
		name, _, ok := strings.Cut(kv, "=")
		if !ok {
			continue
		}
		if i, seen := at[name]; seen {
			out[i] = kv
			continue
		}
		at[name] = len(out)
		out = append(out, kv)
	}
	return out
}

func directory(config v1.ImageConfig, o Options) string {
	dir := config.WorkingDir
	if o.Dir != "" {
		dir = o.Dir
	}
	return path.Clean("/" + dir)
}

func hostname(o Options) string {
	switch {
	case o.Hostname != "":
		return o.Hostname
	case o.HostNet:
		return ""
	}
	return o.ID[:min(12, len(o.ID))]
}

// capabilities are those without which ordinary daemons do not start: they drop their
// own rights, and take ports below 1024.
func capabilities(u specs.User) *specs.LinuxCapabilities {
	all := []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
		"CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
	c := &specs.LinuxCapabilities{Bounding: all}
	if u.UID == 0 {
		c.Effective, c.Permitted = all, all
	}
	return c
}

func mounts() []specs.Mount {
	safe := []string{"nosuid", "noexec", "nodev"}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: safe},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: append([]string{"mode=1777", "size=65536k"}, safe...)},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: safe},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: append([]string{"ro"}, safe...)},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: append([]string{"ro", "relatime"}, safe...)},
	}
}

func linux(o Options) *specs.Linux {
	l := &specs.Linux{
		CgroupsPath: "/tare/" + o.ID,
		Resources:   resources(o),
		Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace},
			{Type: specs.IPCNamespace},
			{Type: specs.UTSNamespace},
			{Type: specs.MountNamespace},
			{Type: specs.CgroupNamespace},
		},
		MaskedPaths: []string{
			"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
			"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/interrupts", "/sys/firmware",
			"/sys/devices/virtual/powercap",
		},
		ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
	}
	if !o.HostNet {
		l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	}
	return l
}

func resources(o Options) *specs.LinuxResources {
	r := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}
	if o.Memory > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &o.Memory}
	}
	if o.CPUs > 0 {
		period := uint64(100_000)
		quota := int64(o.CPUs * float64(period))
		r.CPU = &specs.LinuxCPU{Period: &period, Quota: &quota}
	}
	if o.Pids > 0 {
		r.Pids = &specs.LinuxPids{Limit: &o.Pids}
	}
	return r
}

// MountBind is a directory or file of the host, at a path in the container.
func MountBind(source, dest string, readOnly bool) (specs.Mount, error) {
	if !path.IsAbs(source) || !path.IsAbs(dest) || path.Clean(dest) == "/" {
		return specs.Mount{}, fmt.Errorf("mount %s on %s: want absolute paths, and not on /", source, dest)
	}
	m := specs.Mount{Destination: path.Clean(dest), Type: "bind", Source: source, Options: []string{"rbind", "nosuid", "nodev"}}
	if readOnly {
		m.Options = append(m.Options, "ro")
	}
	return m, nil
}

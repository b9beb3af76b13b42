package runtimetest

import (
	"os"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/test/runtime/report"
)

// defaultSpec is what "runc spec" proposes, with a writable root and no terminal.
func defaultSpec(args []string) *specs.Spec {
	caps := []string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
	return &specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{
			Args: args, Cwd: "/",
			Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"},
			Capabilities: &specs.LinuxCapabilities{
				Bounding: caps, Effective: caps, Permitted: caps,
			},
			NoNewPrivileges: true,
		},
		Hostname: "probe",
		Mounts:   defaultMounts(),
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace},
				{Type: specs.NetworkNamespace},
				{Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace},
				{Type: specs.MountNamespace},
				{Type: specs.CgroupNamespace},
			},
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
				"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

func defaultMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
}

func ptr[T any](v T) *T { return &v }

func (b *bundle) mount(m ...specs.Mount) *bundle {
	b.Spec.Mounts = append(b.Spec.Mounts, m...)
	return b
}

// without removes the mounts at these destinations.
func (b *bundle) without(destinations ...string) *bundle {
	var kept []specs.Mount
	for _, m := range b.Spec.Mounts {
		if !contains(destinations, m.Destination) {
			kept = append(kept, m)
		}
	}
	b.Spec.Mounts = kept
	return b
}

// namespace sets or replaces one namespace.
func (b *bundle) namespace(kind specs.LinuxNamespaceType, path string) *bundle {
	b.noNamespace(kind)
	b.Spec.Linux.Namespaces = append(b.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: kind, Path: path})
	return b
}

func (b *bundle) noNamespace(kind specs.LinuxNamespaceType) *bundle {
	var kept []specs.LinuxNamespace
	for _, n := range b.Spec.Linux.Namespaces {
		if n.Type != kind {
			kept = append(kept, n)
		}
	}
	b.Spec.Linux.Namespaces = kept
	return b
}

// caps gives the process these capabilities in every set but inheritable and ambient.
func (b *bundle) caps(names ...string) *bundle {
	b.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
	return b
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// mountAt is the last mount at a point: the one that is seen.
func mountAt(r report.Report, point string) (report.Mount, bool) {
	for i := len(r.Mounts) - 1; i >= 0; i-- {
		if r.Mounts[i].Point == point {
			return r.Mounts[i], true
		}
	}
	return report.Mount{}, false
}

func deviceAt(r report.Report, path string) (report.Device, bool) {
	for _, d := range r.Devices {
		if d.Path == path {
			return d, true
		}
	}
	return report.Device{}, false
}

// ownCaps are the capabilities this process could hand out.
func ownCaps() uint64 {
	text, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(text), "\n") {
		if v, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			return parseHex(strings.TrimSpace(v))
		}
	}
	return 0
}

func parseHex(s string) uint64 {
	var n uint64
	for _, c := range strings.ToLower(s) {
		n = n<<4 | uint64(strings.IndexRune("0123456789abcdef", c))
	}
	return n
}

// wantResults compares, command by command, success ("") or what the error must say.
func wantResults(b *bundle, got []report.Result, want ...string) {
	b.t.Helper()
	if len(got) != len(want) {
		b.t.Fatalf("%d results, want %d: %v", len(got), len(want), got)
	}
	for i, r := range got {
		switch {
		case want[i] == "" && r.Err != "":
			b.t.Errorf("%s: %s, want success", r.Command, r.Err)
		case want[i] != "" && !strings.Contains(r.Err, want[i]):
			b.t.Errorf("%s: %q (%s), want %q", r.Command, r.Err, r.Out, want[i])
		}
	}
}

func (b *bundle) noCgroupNamespace() *bundle { return b.noNamespace(specs.CgroupNamespace) }

package program

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// validate finds what is wrong with a spec before anything is done.
func validate(in *Input) error {
	s := in.Spec
	switch {
	case s.Version == "":
		return specErr("ociVersion is missing")
	case !strings.HasPrefix(s.Version, "1."):
		return specErr("ociVersion %q: only version 1 is supported", s.Version)
	case s.Process == nil:
		return specErr("process is missing")
	case s.Root == nil || s.Root.Path == "":
		return specErr("root.path is missing")
	case s.VM != nil || s.Windows != nil || s.Solaris != nil || s.ZOS != nil:
		return specErr("a platform other than linux is asked for")
	}
	for _, check := range []func(*Input) error{validateProcess, validateNamespaces, validateLinux, validateHooks} {
		if err := check(in); err != nil {
			return err
		}
	}
	return nil
}

func validateProcess(in *Input) error {
	p := in.Spec.Process
	if err := ValidateProcess(p); err != nil {
		return err
	}
	if p.Terminal && in.ConsoleFD < 0 {
		return specErr("process.terminal: no console socket to send the terminal to")
	}
	return nil
}

// ValidateProcess checks a process of a spec or an exec.
func ValidateProcess(p *specs.Process) error {
	if len(p.Args) == 0 || p.Args[0] == "" {
		return specErr("process.args is empty")
	}
	if !strings.HasPrefix(p.Cwd, "/") {
		return specErr("process.cwd %q is not absolute", p.Cwd)
	}
	seen := map[string]bool{}
	for _, r := range p.Rlimits {
		if _, ok := Rlimit(r.Type); !ok {
			return specErr("process.rlimits: unknown type %q", r.Type)
		}
		if seen[r.Type] {
			return specErr("process.rlimits: %s is there twice", r.Type)
		}
		if r.Soft > r.Hard {
			return specErr("process.rlimits: %s: soft limit %d above hard limit %d", r.Type, r.Soft, r.Hard)
		}
		seen[r.Type] = true
	}
	for _, s := range append(append([]string(nil), p.Args...), p.Env...) {
		if strings.IndexByte(s, 0) >= 0 {
			return specErr("process: %q holds a NUL byte", s)
		}
	}
	if a := p.ExecCPUAffinity; a != nil {
		for _, list := range []string{a.Initial, a.Final} {
			if _, err := cpuMask(list); err != nil {
				return specErr("process.execCPUAffinity: %v", err)
			}
		}
	}
	for _, e := range p.Env {
		if !strings.Contains(e, "=") || e[0] == '=' {
			return specErr("process.env: %q is not NAME=VALUE", e)
		}
	}
	return nil
}

func validateNamespaces(in *Input) error {
	l := in.Spec.Linux
	if l == nil {
		return nil
	}
	seen := map[specs.LinuxNamespaceType]bool{}
	for _, n := range l.Namespaces {
		known := false
		for _, k := range namespaces {
			known = known || k.kind == n.Type
		}
		switch {
		case !known:
			return specErr("linux.namespaces: unknown type %q", n.Type)
		case seen[n.Type]:
			return specErr("linux.namespaces: %s is there twice", n.Type)
		case n.Path != "" && !strings.HasPrefix(n.Path, "/"):
			return specErr("linux.namespaces: path %q of %s is not absolute", n.Path, n.Type)
		case n.Type == specs.TimeNamespace && !in.Facts.TimeNS:
			return specErr("linux.namespaces: this kernel has no time namespaces (Linux 5.6)")
		case n.Type == specs.CgroupNamespace && !in.Facts.CgroupNS:
			return specErr("linux.namespaces: this kernel has no cgroup namespaces")
		case n.Type == specs.UserNamespace && !in.Facts.UserNS:
			return specErr("linux.namespaces: this kernel has no user namespaces")
		}
		seen[n.Type] = true
	}
	if len(l.UIDMappings)+len(l.GIDMappings) > 0 && !seen[specs.UserNamespace] {
		return specErr("linux: id mappings without a user namespace")
	}
	if in.newUserNS() && (len(l.UIDMappings) == 0 || len(l.GIDMappings) == 0) {
		return specErr("linux: a new user namespace needs uidMappings and gidMappings")
	}
	if in.joins(specs.UserNamespace) && len(l.UIDMappings)+len(l.GIDMappings) > 0 {
		return specErr("linux: id mappings and a path to a user namespace")
	}
	if len(l.TimeOffsets) > 0 && !in.newNS(specs.TimeNamespace) {
		return specErr("linux.timeOffsets without a new time namespace")
	}
	if in.Spec.Hostname != "" && !seen[specs.UTSNamespace] {
		return specErr("hostname without a uts namespace")
	}
	if in.Spec.Domainname != "" && !seen[specs.UTSNamespace] {
		return specErr("domainname without a uts namespace")
	}
	return nil
}

func validateLinux(in *Input) error {
	l := in.Spec.Linux
	if l == nil {
		return nil
	}
	for clock := range l.TimeOffsets {
		if clock != "monotonic" && clock != "boottime" {
			return specErr("linux.timeOffsets: unknown clock %q", clock)
		}
	}
	if l.RootfsPropagation != "" {
		known := false
		for _, o := range propagationOptions {
			known = known || o.name == l.RootfsPropagation
		}
		if !known {
			return specErr("linux.rootfsPropagation %q", l.RootfsPropagation)
		}
	}
	if in.namespace(specs.MountNamespace) == nil && (len(l.MaskedPaths)+len(l.ReadonlyPaths) > 0 || len(in.Spec.Mounts) > 0) {
		return specErr("mounts, masked and read-only paths need a mount namespace")
	}
	for _, d := range l.Devices {
		switch d.Type {
		case "c", "b", "u", "p":
		default:
			return specErr("linux.devices %s: unknown type %q", d.Path, d.Type)
		}
		if !strings.HasPrefix(d.Path, "/") {
			return specErr("linux.devices: path %q is not absolute", d.Path)
		}
	}
	for _, p := range append(append([]string(nil), l.MaskedPaths...), l.ReadonlyPaths...) {
		if !strings.HasPrefix(p, "/") {
			return specErr("linux: masked or read-only path %q is not absolute", p)
		}
	}
	if err := validateNetDevices(in); err != nil {
		return err
	}
	if l.MountLabel != "" && !in.Facts.SELinux {
		return specErr("linux.mountLabel %q: this kernel runs no SELinux", l.MountLabel)
	}
	if l.IntelRdt != nil {
		return specErr("linux.intelRdt: this kernel has no resctrl file system mounted")
	}
	return validateSysctl(in)
}

func validateNetDevices(in *Input) error {
	devices := in.Spec.Linux.NetDevices
	if len(devices) > 0 && in.namespace(specs.NetworkNamespace) == nil {
		return specErr("linux.netDevices needs a network namespace")
	}
	seen := map[string]bool{}
	for name, d := range devices {
		as := d.Name
		if as == "" {
			as = name
		}
		if !deviceName(name) || strings.Contains(name, "%") || !deviceName(strings.Replace(as, "%d", "0", 1)) {
			return specErr("linux.netDevices: %q as %q: no name of a network device", name, as)
		}
		if seen[as] && !strings.Contains(as, "%") {
			return specErr("linux.netDevices: name %q is there twice", as)
		}
		seen[as] = true
	}
	return nil
}

// deviceName tells whether the kernel takes s for a network device.
func deviceName(s string) bool {
	return s != "" && len(s) < 16 && s != "." && s != ".." && !strings.ContainsAny(s, "/:% \t\n\v\f\r")
}

// validateSysctl refuses settings that would change the host: only those of a
// namespace of the container's own are allowed.
func validateSysctl(in *Input) error {
	for name := range in.Spec.Linux.Sysctl {
		path := sysctlPath(name)
		var kind specs.LinuxNamespaceType
		switch {
		case strings.Contains("/"+path+"/", "/../"):
			return specErr("linux.sysctl: %q", name)
		case path == "kernel/domainname":
			kind = specs.UTSNamespace
		case path == "kernel/hostname":
			return specErr("linux.sysctl: %s: set the hostname field", name)
		case strings.HasPrefix(path, "net/"):
			kind = specs.NetworkNamespace
		case strings.HasPrefix(path, "fs/mqueue/"), strings.HasPrefix(path, "kernel/shm"), strings.HasPrefix(path, "kernel/msg"), path == "kernel/sem":
			kind = specs.IPCNamespace
		case strings.HasPrefix(path, "user/"):
			kind = specs.UserNamespace
		default:
			return specErr("linux.sysctl: %s is not of a namespace: it would change the host", name)
		}
		if in.namespace(kind) == nil {
			return specErr("linux.sysctl: %s needs a %s namespace", name, kind)
		}
	}
	return nil
}

func validateHooks(in *Input) error {
	h := in.Spec.Hooks
	if h == nil {
		return nil
	}
	for _, list := range [][]specs.Hook{h.Prestart, h.CreateRuntime, h.CreateContainer, h.StartContainer, h.Poststart, h.Poststop} { //nolint:staticcheck // prestart is deprecated but in use
		for _, k := range list {
			if !strings.HasPrefix(k.Path, "/") {
				return specErr("hooks: path %q is not absolute", k.Path)
			}
			if k.Timeout != nil && *k.Timeout <= 0 {
				return specErr("hooks: %s: timeout %d is not above 0", k.Path, *k.Timeout)
			}
		}
	}
	return nil
}

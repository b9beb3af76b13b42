package engine

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// deniedCalls change or look into the whole machine, and nothing that runs in a container needs them.
// Each stands behind the capability that, given to the container, allows it again; "" is none.
func deniedCalls() map[string]string {
	return map[string]string{
		"SYS_MODULE": "init_module finit_module delete_module create_module query_module get_kernel_syms",
		"SYS_BOOT":   "kexec_load kexec_file_load",
		"SYS_ADMIN": "mount umount umount2 pivot_root fsopen fsconfig fsmount fspick move_mount open_tree open_tree_attr mount_setattr " +
			"setns unshare swapon swapoff quotactl quotactl_fd lookup_dcookie fanotify_init bpf perf_event_open " +
			"nfsservctl vm86 vm86old",
		"SYS_RAWIO":       "iopl ioperm",
		"SYS_TIME":        "settimeofday clock_settime clock_settime64 clock_adjtime clock_adjtime64 adjtimex stime",
		"SYS_PACCT":       "acct",
		"DAC_READ_SEARCH": "open_by_handle_at",
		"SYS_PTRACE":      "kcmp process_madvise process_vm_readv process_vm_writev",
		"SYS_NICE":        "mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node",
		"":                "add_key keyctl request_key userfaultfd uselib ustat sysfs _sysctl io_uring_setup io_uring_enter io_uring_register",
	}
}

// newNamespaces are the flags of clone(2) that make namespaces.
var newNamespaces = [...]uint64{
	unix.CLONE_NEWNS, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWUSER, unix.CLONE_NEWPID, unix.CLONE_NEWNET, unix.CLONE_NEWCGROUP,
}

// defaultSeccomp refuses what containers have no business with: a list of what is denied, so that calls
// the list has never heard of work as they would without it.
func defaultSeccomp(capabilities []string) *specs.LinuxSeccomp {
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	for c, names := range deniedCalls() {
		if c == "" || !slices.Contains(capabilities, "CAP_"+c) {
			p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: strings.Fields(names), Action: specs.ActErrno})
		}
	}
	if slices.Contains(capabilities, "CAP_SYS_ADMIN") {
		return p
	}
	for _, flag := range newNamespaces {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{
			Names: []string{"clone"}, Action: specs.ActErrno,
			Args: []specs.LinuxSeccompArg{{Index: cloneFlags, Value: flag, ValueTwo: flag, Op: specs.OpMaskedEqual}},
		})
	}
	// Its flags are in memory, which a filter cannot read; libraries go back to clone.
	enosys := uint(unix.ENOSYS)
	p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: &enosys})
	return p
}

// cloneFlags is which argument of clone(2) has the flags; it is the first but on s390.
const cloneFlags = 0

// setSeccomp gives the container the usual profile, unless it has one or is to have none.
func setSeccomp(s *specs.Spec, h *container.HostConfig) {
	if h.Privileged || slices.ContainsFunc(h.SecurityOpt, func(o string) bool { return strings.HasPrefix(o, "seccomp") }) {
		return
	}
	s.Linux.Seccomp = defaultSeccomp(s.Process.Capabilities.Bounding)
}

// profile is docker's format: the runtime's with conditions.
type profile struct {
	specs.LinuxSeccomp
	ArchMap []struct {
		Architecture     specs.Arch   `json:"architecture"`
		SubArchitectures []specs.Arch `json:"subArchitectures"`
	} `json:"archMap"`
	Syscalls []struct {
		specs.LinuxSyscall
		Name     string    `json:"name"`
		Includes condition `json:"includes"`
		Excludes condition `json:"excludes"`
	} `json:"syscalls"`
}

type condition struct {
	Caps   []string `json:"caps"`
	Arches []string `json:"arches"`
}

// seccompProfile takes "unconfined", "builtin", or the text of a profile.
func seccompProfile(s *specs.Spec, text string) error {
	switch text {
	case "unconfined":
		return nil
	case "builtin", "default":
		s.Linux.Seccomp = defaultSeccomp(s.Process.Capabilities.Bounding)
		return nil
	}
	var p profile
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return Errorf(Invalid, "Decoding seccomp profile failed: %w", err)
	}
	out := p.LinuxSeccomp
	out.Syscalls = nil
	for _, a := range p.ArchMap {
		if archOf(a.Architecture) == goarch {
			out.Architectures = append(append(out.Architectures, a.Architecture), a.SubArchitectures...)
		}
	}
	have := s.Process.Capabilities.Bounding
	for _, c := range p.Syscalls {
		call := c.LinuxSyscall
		if c.Name != "" {
			call.Names = append(call.Names, c.Name)
		}
		if c.Includes.met(have, true) && (c.Excludes.empty() || !c.Excludes.met(have, false)) {
			out.Syscalls = append(out.Syscalls, call)
		}
	}
	s.Linux.Seccomp = &out
	return nil
}

func (c condition) empty() bool { return len(c.Caps) == 0 && len(c.Arches) == 0 }

// met tells whether all capabilities, or one of them, and one of the CPUs are the container's.
func (c condition) met(have []string, all bool) bool {
	n := 0
	for _, want := range c.Caps {
		if slices.Contains(have, want) {
			n++
		}
	}
	arch := slices.Contains(c.Arches, goarch)
	if all {
		return n == len(c.Caps) && (len(c.Arches) == 0 || arch)
	}
	return n > 0 || arch
}

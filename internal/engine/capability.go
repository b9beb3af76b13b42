package engine

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// capabilityNames are those of linux/capability.h, by number.
const capabilityNames = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE " +
	"NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE " +
	"SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL " +
	"SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"

// defaultCapabilities are those that clients of the API expect a container to have.
const defaultCapabilities = "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP " +
	"NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"

// capabilities are the usual ones, with --cap-add and without --cap-drop.
func capabilities(s *specs.Spec, h *container.HostConfig) error {
	known := strings.Fields(capabilityNames)
	if last, err := lastCapability(); err == nil && last+1 < len(known) {
		known = known[:last+1]
	}
	set := strings.Fields(defaultCapabilities)
	if h.Privileged {
		set = known
	}
	add, err := readCapabilities(h.CapAdd, known)
	if err != nil {
		return err
	}
	drop, err := readCapabilities(h.CapDrop, known)
	if err != nil {
		return err
	}
	allDropped := slices.Contains(drop, "ALL")
	switch {
	case h.Privileged:
	case slices.Contains(add, "ALL"):
		set = slices.DeleteFunc(slices.Clone(known), func(c string) bool { return slices.Contains(drop, c) })
	case allDropped:
		set = add
	default:
		set = slices.DeleteFunc(append(slices.Clone(set), add...), func(c string) bool { return slices.Contains(drop, c) })
	}
	var all []string
	for _, c := range known { // in the kernel's order, each once
		if slices.Contains(set, c) {
			all = append(all, "CAP_"+c)
		}
	}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all}
	if s.Process.User.UID == 0 {
		s.Process.Capabilities.Effective, s.Process.Capabilities.Permitted = all, all
	}
	return nil
}

// readCapabilities takes names as people write them: with CAP_ or without, in any case.
func readCapabilities(names, known []string) ([]string, error) {
	var all []string
	for _, name := range names {
		c := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		if c != "ALL" && !slices.Contains(strings.Fields(capabilityNames), c) {
			return nil, Errorf(Invalid, "invalid CapAdd or CapDrop: unknown capability: %q", "CAP_"+c)
		}
		if c == "ALL" || slices.Contains(known, c) {
			all = append(all, c)
		}
	}
	return all, nil
}

// lastCapability is the number of the last one that the kernel knows.
func lastCapability() (int, error) {
	text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

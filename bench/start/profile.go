package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// dockerProfile is a seccomp profile as Docker, Podman and containerd write it
// down: rules that hold for some architectures or capabilities only.
type dockerProfile struct {
	DefaultAction   specs.LinuxSeccompAction `json:"defaultAction"`
	DefaultErrnoRet *uint                    `json:"defaultErrnoRet"`
	ArchMap         []struct {
		Architecture     specs.Arch   `json:"architecture"`
		SubArchitectures []specs.Arch `json:"subArchitectures"`
	} `json:"archMap"`
	Syscalls []struct {
		Names    []string                 `json:"names"`
		Action   specs.LinuxSeccompAction `json:"action"`
		ErrnoRet *uint                    `json:"errnoRet"`
		Args     []specs.LinuxSeccompArg  `json:"args"`
		Includes condition                `json:"includes"`
		Excludes condition                `json:"excludes"`
	} `json:"syscalls"`
}

type condition struct {
	Caps   []string `json:"caps"`
	Arches []string `json:"arches"`
}

// dockerCaps are the capabilities Docker gives a container by default. The
// profile is resolved for them, whatever the bundle's process has, so that the
// filter is the one most containers run with.
var dockerCaps = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID",
	"CAP_KILL", "CAP_MKNOD", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP",
	"CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// readProfile resolves the profile in file to the form of the runtime-spec.
func readProfile(file string) (*specs.LinuxSeccomp, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var p dockerProfile
	if err := json.Unmarshal(content, &p); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	out := &specs.LinuxSeccomp{DefaultAction: p.DefaultAction, DefaultErrnoRet: p.DefaultErrnoRet}
	native := map[string]specs.Arch{
		"amd64": specs.ArchX86_64, "arm64": specs.ArchAARCH64, "arm": specs.ArchARM,
	}[runtime.GOARCH]
	for _, a := range p.ArchMap {
		if a.Architecture == native {
			out.Architectures = append([]specs.Arch{native}, a.SubArchitectures...)
		}
	}
	for _, s := range p.Syscalls {
		if !s.Includes.holds() || s.Excludes.excludes() {
			continue
		}
		out.Syscalls = append(out.Syscalls, specs.LinuxSyscall{
			Names: s.Names, Action: s.Action, ErrnoRet: s.ErrnoRet, Args: s.Args,
		})
	}
	return out, nil
}

// holds reports whether every named kind of requirement is met.
func (c condition) holds() bool {
	if len(c.Arches) > 0 && !slices.Contains(c.Arches, runtime.GOARCH) {
		return false
	}
	for _, name := range c.Caps {
		if !slices.Contains(dockerCaps, name) {
			return false
		}
	}
	return true
}

// excludes reports whether any named architecture or capability is present.
func (c condition) excludes() bool {
	if slices.Contains(c.Arches, runtime.GOARCH) {
		return true
	}
	return slices.ContainsFunc(c.Caps, func(name string) bool { return slices.Contains(dockerCaps, name) })
}

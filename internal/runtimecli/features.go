package runtimecli

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/seccomp"
)

func featuresCommand(s *session) cli.Command {
	return cli.Command{
		Name:  "features",
		Short: "print as JSON what this runtime knows of the OCI runtime specification",
		Run: func(c *cli.Call) error {
			return printJSON(c.Out, s.features(known()), "    ")
		},
	}
}

// knowledge is what the compiler and the seccomp translator know by name.
type knowledge struct {
	hooks, mountOptions, namespaces, capabilities []string
	seccomp                                       features.Seccomp
	memoryPolicy                                  *features.MemoryPolicy
	intelRdt                                      features.IntelRdt
	apparmor, selinux, idmap, netDevices          bool
}

// features says what this build can do on some machine; what the kernel at hand
// lacks is told when it is asked for (runtime-spec, features.md).
func (s *session) features(k knowledge) features.Features {
	yes := true
	return features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		Hooks:         k.hooks,
		MountOptions:  k.mountOptions,
		Linux: &features.Linux{
			Namespaces:   k.namespaces,
			Capabilities: k.capabilities,
			Cgroup: &features.Cgroup{
				V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &yes, Rdma: &yes,
			},
			Seccomp:         &k.seccomp,
			Apparmor:        &features.Apparmor{Enabled: &k.apparmor},
			Selinux:         &features.Selinux{Enabled: &k.selinux},
			IntelRdt:        &k.intelRdt,
			MemoryPolicy:    k.memoryPolicy,
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &k.idmap}},
			NetDevices:      &features.NetDevices{Enabled: &k.netDevices},
		},
		Annotations: map[string]string{"dev.tare.runtime.version": s.Version},
	}
}

func known() knowledge {
	yes := true
	return knowledge{
		seccomp: features.Seccomp{
			Enabled: &yes, Actions: seccomp.Actions(), Operators: seccomp.Operators(),
			Archs: seccomp.Archs(), KnownFlags: seccomp.Flags(), SupportedFlags: seccomp.Flags(),
		},
	}
}

package runtimecli

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/program"
	"tare.dev/tare/internal/seccomp"
)

func featuresCommand(s *session) cli.Command {
	return cli.Command{
		Name:  "features",
		Short: "print as JSON what this runtime knows of the OCI runtime specification",
		Run:   func(c *cli.Call) error { return printJSON(c.Out, s.features(), "    ") },
	}
}

// features says what this build can do on some machine; what the kernel at hand
// lacks is told when it is asked for (runtime-spec, features.md).
func (s *session) features() features.Features {
	yes, no := true, false
	return features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		Hooks:         program.Hooks(),
		MountOptions:  program.MountOptions(),
		Linux: &features.Linux{
			Namespaces:   program.Namespaces(),
			Capabilities: program.Capabilities(),
			Cgroup:       &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &yes, Rdma: &yes},
			Seccomp: &features.Seccomp{
				Enabled:        &yes,
				Actions:        seccomp.Actions(),
				Operators:      seccomp.Operators(),
				Archs:          seccomp.Archs(),
				KnownFlags:     seccomp.Flags(),
				SupportedFlags: seccomp.Flags(),
			},
			Apparmor: &features.Apparmor{Enabled: &yes},
			Selinux:  &features.Selinux{Enabled: &yes},
			IntelRdt: &features.IntelRdt{Enabled: &no, Schemata: &no, Monitoring: &no},
			// The names of set_mempolicy(2); package program refuses any other.
			MemoryPolicy: &features.MemoryPolicy{
				Modes: []string{
					"MPOL_BIND", "MPOL_DEFAULT", "MPOL_INTERLEAVE", "MPOL_LOCAL",
					"MPOL_PREFERRED", "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE",
				},
				Flags: []string{"MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"},
			},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}},
			NetDevices:      &features.NetDevices{Enabled: &yes},
		},
		Annotations: map[string]string{"dev.tare.runtime.version": s.Version},
		// systemd properties are set as annotations say; the value reaches its manager.
		PotentiallyUnsafeConfigAnnotations: []string{"org.systemd.property."},
	}
}

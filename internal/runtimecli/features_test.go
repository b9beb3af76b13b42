package runtimecli

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// What engines look for before they use it.
func TestFeatures(t *testing.T) {
	var f features.Features
	if err := json.Unmarshal([]byte(newStage().line(t, "features")), &f); err != nil {
		t.Fatal(err)
	}
	if f.OCIVersionMin != "1.0.0" || f.OCIVersionMax != "1.3.0" || f.Linux == nil {
		t.Fatalf("got %+v", f)
	}
	for what, list := range map[string][]string{
		"prestart": f.Hooks, "poststop": f.Hooks, "createContainer": f.Hooks,
		"bind": f.MountOptions, "rro": f.MountOptions, "tmpcopyup": f.MountOptions,
		"user": f.Linux.Namespaces, "time": f.Linux.Namespaces, "cgroup": f.Linux.Namespaces,
		"CAP_SYS_ADMIN": f.Linux.Capabilities, "CAP_CHECKPOINT_RESTORE": f.Linux.Capabilities,
		"SCMP_ACT_NOTIFY": f.Linux.Seccomp.Actions, "SCMP_CMP_MASKED_EQ": f.Linux.Seccomp.Operators,
		"SCMP_ARCH_AARCH64": f.Linux.Seccomp.Archs, "SECCOMP_FILTER_FLAG_LOG": f.Linux.Seccomp.KnownFlags,
		"MPOL_BIND": f.Linux.MemoryPolicy.Modes,
	} {
		if !slices.Contains(list, what) {
			t.Errorf("%s is not in %q", what, list)
		}
	}
	if !*f.Linux.Cgroup.V1 || !*f.Linux.Cgroup.V2 || !*f.Linux.MountExtensions.IDMap.Enabled {
		t.Error("control groups or id maps are denied")
	}
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"tare.dev/tare/test/rootfs"
)

const (
	mib         = 1 << 20
	memoryLimit = 64 * mib
	pidsLimit   = 32
	cpuPeriod   = 100_000 // µs
	cpuQuota    = 50_000  // µs of each period
)

func (d *demo) makeRootfs(ctx context.Context) error {
	start := time.Now()
	dir, err := rootfs.Base().Unpack(ctx, filepath.Join(d.cache, "rootfs"))
	if err != nil {
		return err
	}
	d.rootfs = dir
	took := time.Since(start)
	packages, err := filepath.Glob(filepath.Join(dir, "var/lib/dpkg/info/*.list"))
	if err != nil {
		return err
	}
	version, err := os.ReadFile(filepath.Join(dir, "etc/debian_version"))
	if err != nil {
		return err
	}
	how := fmt.Sprintf("made by mmdebstrap in %.0f s", took.Seconds())
	if took < time.Second {
		how = "made by an earlier run"
	}
	show(fmt.Sprintf("Debian %s, %d packages, %s", strings.TrimSpace(string(version)), len(packages), how))
	return nil
}

func (d *demo) makeBundle(ctx context.Context) error {
	d.typed("spec", "--bundle", d.bundle)
	cmd := d.command(ctx, "spec")
	cmd.Dir = d.bundle
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("spec: %w: %s", err, out)
	}
	if err := os.Rename(filepath.Join(d.bundle, "config.json"), filepath.Join(d.bundle, "spec.json")); err != nil {
		return err
	}
	if err := d.configure("true"); err != nil {
		return err
	}
	show(fmt.Sprintf("memory %d MiB, %d processes, half a CPU; the root filesystem read-only", memoryLimit/mib, pidsLimit))
	return nil
}

// configure writes config.json: what the runtime's own `spec` gave, with our root, limits and command.
func (d *demo) configure(args ...string) error {
	text, err := os.ReadFile(filepath.Join(d.bundle, "spec.json"))
	if err != nil {
		return err
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		return fmt.Errorf("spec.json: %w", err)
	}
	spec.Version = "1.0.2" // Debian's crun knows nothing newer
	spec.Process.Terminal = false
	spec.Process.Args = args
	spec.Hostname = "container"
	spec.Root = &specs.Root{Path: d.rootfs, Readonly: true}
	limit, pids, period, quota := int64(memoryLimit), int64(pidsLimit), uint64(cpuPeriod), int64(cpuQuota)
	if spec.Linux.Resources == nil {
		spec.Linux.Resources = &specs.LinuxResources{}
	}
	spec.Linux.CgroupsPath = "/" + id
	spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit}
	spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: &pids}
	spec.Linux.Resources.CPU = &specs.LinuxCPU{Period: &period, Quota: &quota}
	text, err = json.MarshalIndent(spec, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.bundle, "config.json"), text, 0o644)
}

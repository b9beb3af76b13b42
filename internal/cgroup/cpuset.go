package cgroup

import (
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// cpusetSettings converts cpu.cpus and cpu.mems.
func cpusetSettings(p place, c *specs.LinuxCPU) []setting {
	var list []setting
	if c.Cpus != "" {
		list = append(list, setting{file: cpusetFile(p, "cpus"), value: c.Cpus})
	}
	if c.Mems != "" {
		list = append(list, setting{file: cpusetFile(p, "mems"), value: c.Mems})
	}
	return list
}

// cpusetFile names a file of the controller: Android mounts it on v1 with the
// option noprefix.
func cpusetFile(p place, name string) string {
	if !p.v2 && !p.has("cpuset."+name) && p.has(name) {
		return name
	}
	return "cpuset." + name
}

// cpusetInherit returns the steps that give the new v1 groups on the way from
// the mount point to leaf the cpus and mems of their parent. On v1 they start
// empty and the kernel lets no process in as long as they are (ENOSPC). dirs
// are the groups from the top down, the leaf last; for the leaf only what
// settings does not set is inherited.
func cpusetInherit(p place, dirs []string, settings []setting) []Step {
	var steps []Step
	for _, name := range []string{"cpus", "mems"} {
		file := cpusetFile(p, name)
		inherited := readString(p.top, file)
		for i, dir := range dirs {
			if now := readString(dir, file); now != "" {
				inherited = now
				continue
			}
			if i == len(dirs)-1 && sets(settings, file) {
				continue
			}
			steps = append(steps, Step{Kind: Write, Path: filepath.Join(dir, file), Value: inherited})
		}
	}
	return steps
}

func sets(settings []setting, file string) bool {
	for _, s := range settings {
		if s.file == file {
			return true
		}
	}
	return false
}

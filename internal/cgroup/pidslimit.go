package cgroup

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// pidsSettings converts linux.resources.pids. Specification 1.3: -1 is no limit
// and 0 is a limit like any other. The file is the same on v1 and v2.
func pidsSettings(p *specs.LinuxPids) ([]setting, error) {
	if p.Limit == nil {
		return nil, nil
	}
	limit := *p.Limit
	if limit < 0 {
		limit = -1
	}
	return []setting{{file: "pids.max", value: orMax(limit)}}, nil
}

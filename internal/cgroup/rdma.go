package cgroup

import (
	"fmt"
	"maps"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// rdmaSettings converts linux.resources.rdma. The file is the same on v1 and v2.
func rdmaSettings(limits map[string]specs.LinuxRdma) ([]setting, error) {
	var list []setting
	for _, device := range slices.Sorted(maps.Keys(limits)) {
		l, v := limits[device], device
		if l.HcaHandles == nil && l.HcaObjects == nil {
			return nil, fmt.Errorf("rdma %q: neither hcaHandles nor hcaObjects", device)
		}
		if l.HcaHandles != nil {
			v += fmt.Sprintf(" hca_handle=%d", *l.HcaHandles)
		}
		if l.HcaObjects != nil {
			v += fmt.Sprintf(" hca_object=%d", *l.HcaObjects)
		}
		list = append(list, setting{file: "rdma.max", value: v})
	}
	return list, nil
}

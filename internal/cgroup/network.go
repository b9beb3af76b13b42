package cgroup

import (
	"fmt"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// classSettings converts linux.resources.network.classID, which v2 lacks: there
// packets are told apart by their group itself.
func classSettings(p place, n *specs.LinuxNetwork) ([]setting, error) {
	if value(n.ClassID) == 0 {
		return nil, nil
	}
	if p.v2 {
		return nil, fmt.Errorf("network.classID: cgroup v2 has no such setting")
	}
	return []setting{{file: "net_cls.classid", value: strconv.FormatUint(uint64(*n.ClassID), 10)}}, nil
}

// prioritySettings converts linux.resources.network.priorities. Interfaces are
// those of the runtime's network namespace.
func prioritySettings(p place, n *specs.LinuxNetwork) ([]setting, error) {
	if p.v2 && len(n.Priorities) > 0 {
		return nil, fmt.Errorf("network.priorities: cgroup v2 has no such setting")
	}
	var list []setting
	for _, i := range n.Priorities {
		list = append(list, setting{file: "net_prio.ifpriomap", value: fmt.Sprintf("%s %d", i.Name, i.Priority)})
	}
	return list, nil
}

package cgroup

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func v1PlanCases() []planCase {
	return []planCase{
		{
			name:  "v1 makes only what is used",
			files: v1Files("cpu", "cpuset", "memory", "devices", "freezer", "pids", "name=systemd"),
			r: Request{ID: "web", Resources: &specs.LinuxResources{
				Pids:    &specs.LinuxPids{Limit: ptr(int64(20))},
				Devices: smallRules(),
				Memory:  &specs.LinuxMemory{Limit: ptr(int64(1 << 20)), Swap: ptr(int64(1 << 20))},
			}},
			want: `
mkdir CG/memory/tare
mkdir CG/memory/tare/web (must be new)
write "1048576" to CG/memory/tare/web/memory.limit_in_bytes
write "1048576" to CG/memory/tare/web/memory.memsw.limit_in_bytes
mkdir CG/devices/tare
mkdir CG/devices/tare/web (must be new)
write "a" to CG/devices/tare/web/devices.deny
write "c 1:3 rwm" to CG/devices/tare/web/devices.allow
mkdir CG/freezer/tare
mkdir CG/freezer/tare/web (must be new)
mkdir CG/pids/tare
mkdir CG/pids/tare/web (must be new)
write "20" to CG/pids/tare/web/pids.max
join CG/devices/tare/web/tasks
join CG/freezer/tare/web/tasks
join CG/pids/tare/web/tasks
join CG/memory/tare/web/tasks
group "devices": CG/devices/tare/web
group "freezer": CG/freezer/tare/web
group "memory": CG/memory/tare/web
group "pids": CG/pids/tare/web`,
		},
		{
			name:  "v1 with a path makes all, and fills cpuset",
			files: v1Files("cpu,cpuacct", "cpuset", "net_cls,net_prio", "memory", "freezer", "name=systemd", "name=other"),
			r: Request{ID: "web", CgroupsPath: "/pod/web", Resources: &specs.LinuxResources{
				CPU: &specs.LinuxCPU{Cpus: "1-2"},
			}},
			want: `
mkdir CG/cpu,cpuacct/pod
mkdir CG/cpu,cpuacct/pod/web (must be new)
mkdir CG/cpuset/pod
mkdir CG/cpuset/pod/web (must be new)
write "0-3" to CG/cpuset/pod/cpuset.cpus
write "0" to CG/cpuset/pod/cpuset.mems
write "0" to CG/cpuset/pod/web/cpuset.mems
write "1-2" to CG/cpuset/pod/web/cpuset.cpus
mkdir CG/net_cls,net_prio/pod
mkdir CG/net_cls,net_prio/pod/web (must be new)
mkdir CG/memory/pod
mkdir CG/memory/pod/web (must be new)
mkdir CG/freezer/pod
mkdir CG/freezer/pod/web (must be new)
mkdir CG/systemd/pod
mkdir CG/systemd/pod/web (must be new)
join CG/cpu,cpuacct/pod/web/tasks
join CG/cpuset/pod/web/tasks
join CG/net_cls,net_prio/pod/web/tasks
join CG/freezer/pod/web/tasks
join CG/systemd/pod/web/tasks
join CG/memory/pod/web/tasks
group "cpu": CG/cpu,cpuacct/pod/web
group "cpuacct": CG/cpu,cpuacct/pod/web
group "cpuset": CG/cpuset/pod/web
group "freezer": CG/freezer/pod/web
group "memory": CG/memory/pod/web
group "name=systemd": CG/systemd/pod/web
group "net_cls": CG/net_cls,net_prio/pod/web
group "net_prio": CG/net_cls,net_prio/pod/web`,
		},
		{
			name: "v1 goes into an old, empty group",
			files: with(v1Files("cpu", "freezer"), "sys/fs/cgroup/cpu/old/web/cgroup.procs", "",
				"sys/fs/cgroup/freezer/old/web/cgroup.procs", "", "sys/fs/cgroup/freezer/old/web/freezer.state", "THAWED\n"),
			r: Request{ID: "web", CgroupsPath: "/old/web", Resources: &specs.LinuxResources{
				CPU: &specs.LinuxCPU{Quota: ptr(int64(20000)), Period: ptr(uint64(50000))},
			}},
			want: `
mkdir CG/cpu/old
mkdir CG/cpu/old/web
write "-1" to CG/cpu/old/web/cpu.cfs_quota_us
write "50000" to CG/cpu/old/web/cpu.cfs_period_us
write "20000" to CG/cpu/old/web/cpu.cfs_quota_us
mkdir CG/freezer/old
mkdir CG/freezer/old/web
join CG/cpu/old/web/tasks
join CG/freezer/old/web/tasks
group "cpu": CG/cpu/old/web
group "freezer": CG/freezer/old/web`,
		},
	}
}

func hybridPlanCases() []planCase {
	return []planCase{
		{
			name:  "hybrid uses v2 for what v1 does not have",
			files: hybridFiles([]string{"cpu", "name=systemd"}, "memory pids"),
			r: Request{ID: "web", CgroupsPath: "a", Resources: &specs.LinuxResources{
				Devices: smallRules(),
				Memory:  &specs.LinuxMemory{Limit: ptr(int64(1 << 20))},
				CPU:     &specs.LinuxCPU{Shares: ptr(uint64(512))},
			}},
			want: `
mkdir CG/cpu/a (must be new)
write "512" to CG/cpu/a/cpu.shares
mkdir CG/systemd/a (must be new)
write "+memory" to CG/unified/cgroup.subtree_control
write "+pids" to CG/unified/cgroup.subtree_control (optional)
mkdir CG/unified/a (must be new)
write "1048576" to CG/unified/a/memory.max
join CG/cpu/a/tasks
join CG/systemd/a/tasks
into CG/unified/a
devices: 13 instructions
group "": CG/unified/a
group "cpu": CG/cpu/a
group "name=systemd": CG/systemd/a`,
		},
		{
			name:  "hybrid leaves an idle v2 hierarchy alone",
			files: hybridFiles([]string{"cpu", "freezer"}, ""),
			r:     Request{ID: "web"},
			want: `
mkdir CG/freezer/tare
mkdir CG/freezer/tare/web (must be new)
join CG/freezer/tare/web/tasks
group "freezer": CG/freezer/tare/web`,
		},
		{
			name:  "no cgroups at all",
			files: map[string]string{"proc/self/mountinfo": "", "proc/self/cgroup": ""},
			r:     Request{ID: "web", Resources: &specs.LinuxResources{Devices: smallRules()}},
			want: `
warning: the container runs without a cgroup: no cgroup file system is mounted`,
		},
	}
}

func v2LimitCases() []planCase {
	return []planCase{
		{
			name:  "v2 hands down what limits need",
			files: v2Files("/"),
			r: Request{ID: "web", Resources: &specs.LinuxResources{
				Pids:    &specs.LinuxPids{Limit: ptr(int64(0))},
				Memory:  withKernel(specs.LinuxMemory{Limit: ptr(int64(1 << 20)), Swap: ptr(int64(3 << 20))}, 9),
				Unified: map[string]string{"memory.high": "900000", "io.max": "8:0 rbps=1\n8:16 rbps=2\n"},
			}},
			want: `
write "+io" to CG/cgroup.subtree_control
write "+memory" to CG/cgroup.subtree_control
write "+pids" to CG/cgroup.subtree_control
mkdir CG/tare
write "+io" to CG/tare/cgroup.subtree_control
write "+memory" to CG/tare/cgroup.subtree_control
write "+pids" to CG/tare/cgroup.subtree_control
mkdir CG/tare/web (must be new)
write "2097152" to CG/tare/web/memory.swap.max
write "1048576" to CG/tare/web/memory.max
write "8:0 rbps=1" to CG/tare/web/io.max
write "8:16 rbps=2" to CG/tare/web/io.max
write "900000" to CG/tare/web/memory.high
late: write "0" to CG/tare/web/pids.max
into CG/tare/web
group "": CG/tare/web
warning: memory.kernel is ignored: cgroup v2 does not limit kernel memory apart`,
		},
		{
			name: "v2 beside our own group, which holds us",
			files: v2Group(v2Group(v2Files("/user.slice/app.scope"), "/user.slice", v2All, "memory pids", ""),
				"/user.slice/app.scope", "memory pids", "", "7\n"),
			r: Request{ID: "web", Resources: &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(-1))}}},
			want: `
write "+pids" to CG/cgroup.subtree_control
mkdir CG/user.slice
mkdir CG/user.slice/tare
write "+pids" to CG/user.slice/tare/cgroup.subtree_control
mkdir CG/user.slice/tare/web (must be new)
write "max" to CG/user.slice/tare/web/pids.max
into CG/user.slice/tare/web
group "": CG/user.slice/tare/web`,
		},
	}
}

func v2PlaceCases() []planCase {
	return []planCase{
		{
			name: "v2 with a path hands down everything, where it can",
			files: with(v2Group(v2Files("/"), "/pod", "memory", "memory", ""),
				"sys/fs/cgroup/cgroup.controllers", "memory pids\n", "sys/fs/cgroup/cgroup.subtree_control", "memory\n"),
			r: Request{ID: "web", CgroupsPath: "/pod/../pod/web"},
			want: `
write "+pids" to CG/cgroup.subtree_control (optional)
mkdir CG/pod
write "+pids" to CG/pod/cgroup.subtree_control (optional)
mkdir CG/pod/web (must be new)
into CG/pod/web
group "": CG/pod/web`,
		},
		{
			name: "v2 given to the container's root",
			files: with(v2Files("/"), "sys/kernel/cgroup/delegate", "cgroup.procs\nmemory.oom.group\n",
				"sys/fs/cgroup/cgroup.controllers", "\n"),
			r: Request{ID: "web", CgroupsPath: "/web", OwnerUID: ptr(1000)},
			want: `
mkdir CG/web (must be new)
chown 1000 CG/web
chown 1000 CG/web/cgroup.procs (optional)
chown 1000 CG/web/memory.oom.group (optional)
into CG/web
group "": CG/web`,
		},
		{
			name:  "rootless has no device rules",
			files: with(v2Files("/"), "sys/fs/cgroup/cgroup.controllers", "\n"),
			r:     Request{ID: "web", CgroupsPath: "/web", Rootless: true, Resources: &specs.LinuxResources{Devices: smallRules()}},
			want: `
mkdir CG/web (must be new)
into CG/web
group "": CG/web
warning: device rules are not applied: only root may set them`,
		},
	}
}

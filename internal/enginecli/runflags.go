package enginecli

import (
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/instance"
)

// engineOnly are the flags of run that need an engine.
var engineOnly = []string{
	"detach", "publish", "publish-all", "restart", "label", "privileged", "cap-add", "cap-drop", "device",
	"init", "stop-signal", "stop-timeout", "health-cmd", "no-healthcheck", "add-host", "dns", "network-alias", "ip", "sysctl",
	"shm-size", "security-opt", "tmpfs", "env-file", "cpuset-cpus", "cpu-shares", "memory-swap", "memory-reservation",
	"ulimit", "group-add", "ipc", "pid", "uts", "userns", "oom-score-adj", "volumes-from", "platform",
}

func (r *run) flags(f *cli.Flags) {
	f.Bool(&r.detach, "detach", "d", "do not wait for its end, print its id")
	f.Bool(&r.noEngine, "no-engine", "", "do it without the engine")
	f.Bool(&r.host.AutoRemove, "rm", "", "remove it after its end")
	f.String(&r.name, "name", "", "`NAME` of the container")
	f.String(&r.restart, "restart", "", "no, always, unless-stopped or on-failure[:TIMES]: `WHEN` to start it again")
	f.Strings(&r.labels, "label", "l", "`KEY=VALUE` to know it by; may be given again")
	f.String(&r.platform, "platform", "", "`OS/CPU[/VARIANT]` that the image must be for")
	r.processFlags(f)
	r.limitFlags(f)
	r.networkFlags(f)
	r.placeFlags(f)
	r.rightsFlags(f)
	r.health.flags(f)
}

func (r *run) processFlags(f *cli.Flags) {
	f.Strings(&r.env, "env", "e", "`NAME=VALUE` in the environment; may be given again")
	f.Strings(&r.envFiles, "env-file", "", "`FILE` of such lines; may be given again")
	f.String(&r.User, "user", "u", "`USER[:GROUP]` to run as")
	f.Strings(&r.host.GroupAdd, "group-add", "", "further `GROUP`; may be given again")
	f.String(&r.WorkingDir, "workdir", "w", "`DIR` to start in")
	f.String(&r.entrypoint, "entrypoint", "", "`COMMAND` in place of the image's entry point")
	f.String(&r.Hostname, "hostname", "h", "`NAME` of the host inside")
	f.Bool(&r.Tty, "tty", "t", "give it a terminal")
	f.Bool(&r.interactive, "interactive", "i", "give it our standard input, also of a terminal without -t; with -d: keep it open")
	f.Bool(&r.init, "init", "", "run a small init that reaps")
	f.String(&r.StopSignal, "stop-signal", "", "`SIGNAL` that asks it to end")
	f.Int(&r.stopTimeout, "stop-timeout", "", "`SECONDS` before it is killed then")
}

func (r *run) limitFlags(f *cli.Flags) {
	f.String(&r.memory, "memory", "m", "at most `SIZE` of memory: 64m, 1g")
	f.String(&r.swap, "memory-swap", "", "at most `SIZE` of memory and swap, -1 for no limit of swap")
	f.Func(sizeTo(&r.host.MemoryReservation), "memory-reservation", "", "`SIZE` of memory that it is left when others want more")
	f.String(&r.cpus, "cpus", "", "at most `NUMBER` of CPUs: 0.5")
	f.Func(func(v string) (err error) {
		r.host.CPUShares, err = strconv.ParseInt(v, 10, 64)
		return err
	}, "cpu-shares", "", "`WEIGHT` against others (1024)")
	f.String(&r.host.CpusetCpus, "cpuset-cpus", "", "the `CPUS` to run on: 0,2-3")
	f.Int(&r.pids, "pids-limit", "", "at most `NUMBER` of processes")
	f.Int(&r.host.OomScoreAdj, "oom-score-adj", "", "`NUMBER` from -1000 to 1000: the larger, the sooner it is killed for memory")
	f.Strings(&r.ulimits, "ulimit", "", "`NAME=SOFT[:HARD]`; may be given again")
	f.String(&r.shm, "shm-size", "", "`SIZE` of /dev/shm (64m)")
}

func (r *run) networkFlags(f *cli.Flags) {
	f.String(&r.network, "network", "", "`NAME` of its network: none (its own loopback alone), bridge, host, or one of network ls")
	f.Strings(&r.aliases, "network-alias", "", "further `NAME` there; may be given again")
	f.String(&r.ip, "ip", "", "its `ADDRESS` there")
	f.Strings(&r.publish, "publish", "p", "`[ADDRESS:][PORT:]PORT[/udp]` of the host leads to it; may be given again")
	f.Bool(&r.host.PublishAllPorts, "publish-all", "P", "publish all ports that the image names")
	f.Strings(&r.host.ExtraHosts, "add-host", "", "`NAME:ADDRESS` in its /etc/hosts; may be given again")
	f.Strings(&r.dns, "dns", "", "`ADDRESS` of a name server; may be given again")
}

func (r *run) placeFlags(f *cli.Flags) {
	f.Bool(&r.host.ReadonlyRootfs, "read-only", "", "nothing can be written but to volumes")
	f.Strings(&r.host.Binds, "volume", "v", "`NAME-OR-DIR:PATH[:ro]` a volume, or a directory of the host; may be given again")
	f.Strings(&r.host.VolumesFrom, "volumes-from", "", "the volumes of a `CONTAINER`; may be given again")
	f.Strings(&r.tmpfs, "tmpfs", "", "`PATH[:OPTIONS]` in memory; may be given again")
	only := func(name string) func(string) error {
		return func(string) error { r.local = append(r.local, name); return nil }
	}
	f.Func(only("write"), "write", "", "memory, flash, or a directory: `WHERE` what it writes goes (memory)")
	f.Func(only("write-size"), "write-size", "", "at most `SIZE` of what it writes (64m of memory; flash: to be given), or none")
	f.Func(only("layout"), "layout", "", "mount the image in this `WAY`, whatever the kernel can")
}

func (r *run) rightsFlags(f *cli.Flags) {
	f.Bool(&r.host.Privileged, "privileged", "", "it may do what the host may")
	f.Strings(&r.host.CapAdd, "cap-add", "", "a further `CAPABILITY`; may be given again")
	f.Strings(&r.host.CapDrop, "cap-drop", "", "a `CAPABILITY` less; may be given again")
	f.Strings(&r.host.SecurityOpt, "security-opt", "", "`OPTION`: seccomp=FILE, no-new-privileges=false, ...; may be given again")
	f.Strings(&r.devices, "device", "", "`DEVICE[:PATH[:rwm]]` of the host; may be given again")
	f.Strings(&r.sysctls, "sysctl", "", "`NAME=VALUE`; may be given again")
	f.Func(func(v string) error { r.host.IpcMode = container.IpcMode(v); return nil }, "ipc", "", "`MODE`: private, shareable, host, container:NAME")
	f.Func(func(v string) error { r.host.PidMode = container.PidMode(v); return nil }, "pid", "", "`MODE`: host, container:NAME")
	f.Func(func(v string) error { r.host.UTSMode = container.UTSMode(v); return nil }, "uts", "", "`MODE`: host")
	f.Func(func(v string) error { r.host.UsernsMode = container.UsernsMode(v); return nil }, "userns", "", "`MODE`: host")
}

// few are the capabilities that a container has unless it is asked for more: fewer than docker's.
func few() []string {
	return strings.Fields("CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT")
}

// sizeTo reads a size to a field.
func sizeTo(to *int64) func(string) error {
	return func(v string) (err error) {
		*to, err = instance.ParseSize(v)
		return err
	}
}

package dockerapi

import (
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/engine"
)

func (a *api) system() []route {
	return []route{
		{"GET", "/_ping", ping},
		{"GET", "/version", a.version},
		{"GET", "/info", a.info},
		{"GET", "/events", a.events},
		{"GET", "/tare/containers/{name}/why", a.why},
		{"GET", "/tare/links", a.links},
		{"GET", "/metrics", a.metrics},
		{"POST", "/tare/upgrade", a.upgrade},
		{"POST", "/auth", auth},
		{"GET", "/plugins", noPlugins},
		{"GET", "/plugins/{name}/json", noPlugin},
	}
}

// ping tells clients the version of the API before they speak it.
func ping(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate")
	w.Header().Set("Pragma", "no-cache")
	w.Header().Set("Builder-Version", "1")
	w.Header().Set("Swarm", "inactive")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Length", "0")
		return nil
	}
	_, _ = w.Write([]byte("OK"))
	return nil
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

func (a *api) version(w http.ResponseWriter, _ *http.Request) error {
	details := map[string]string{
		"Program": a.e.Program(), "Pid": strconv.Itoa(os.Getpid()), "ApiVersion": maxVersion, "MinAPIVersion": minVersion, "Os": "linux", "Arch": runtime.GOARCH,
		"GitCommit": a.o.Commit, "GoVersion": runtime.Version(), "KernelVersion": kernel(),
	}
	all := map[string]any{
		"Platform": map[string]string{"Name": "Tare"}, "Version": a.o.Version,
		"Components": []any{map[string]any{"Name": "Engine", "Version": a.o.Version, "Details": details}},
	}
	for k, v := range details {
		all[k] = v
	}
	return writeJSON(w, http.StatusOK, all)
}

// info is system.Info of the API's types, by hand: those bring all types of swarm, which cost the device
// tens of kilobytes.
func (a *api) info(w http.ResponseWriter, _ *http.Request) error {
	st, err := a.e.Store().Images()
	if err != nil {
		return err
	}
	var si unix.Sysinfo_t
	_ = unix.Sysinfo(&si) // it fails for a bad address alone
	name, _ := os.Hostname()
	var running, paused, stopped int
	for _, c := range a.e.Containers() {
		switch v := c.View(); v.State {
		case container.StateRunning, container.StateRestarting:
			running++
		case container.StatePaused:
			paused++
		default:
			stopped++
		}
	}
	all := map[string]any{
		"ID": name, "Name": name, "Images": len(st), "ServerVersion": a.o.Version, "DockerRootDir": a.e.Root(),
		"Containers": running + paused + stopped, "ContainersRunning": running, "ContainersPaused": paused, "ContainersStopped": stopped,
		"Driver": "tare", "DriverStatus": [][2]string{{"Backing", "EROFS trees over shared objects"}},
		"Plugins": map[string][]string{
			"Volume": {"local"}, "Network": {"bridge", "host", "macvlan", "null"}, "Log": {"tare"}, "Authorization": {},
		},
		"LoggingDriver": "tare", "CgroupDriver": "cgroupfs", "CgroupVersion": cgroupVersion(), "KernelVersion": kernel(),
		"OperatingSystem": operatingSystem(), "OSType": "linux", "Architecture": machine(), "NCPU": runtime.NumCPU(),
		"MemTotal": int64(si.Totalram) * int64(si.Unit), "SystemTime": time.Now().Format(time.RFC3339Nano),
		"NGoroutines": runtime.NumGoroutine(), "NEventsListener": a.e.Listening(), "NFd": 0,
		"Runtimes": map[string]any{"tare": map[string]any{}}, "DefaultRuntime": "tare", "InitBinary": "tare", "LiveRestoreEnabled": true,
		"SecurityOptions": []string{"name=seccomp,profile=builtin"}, "Swarm": map[string]any{"LocalNodeState": "inactive"},
		"Labels": []string{}, "Warnings": a.e.Warnings(), "IndexServerAddress": "https://index.docker.io/v1/",
		"RegistryConfig": map[string]any{"IndexConfigs": map[string]any{}, "InsecureRegistryCIDRs": []string{}, "Mirrors": []string{}},
	}
	for _, yes := range []string{
		"MemoryLimit", "SwapLimit", "CpuCfsPeriod", "CpuCfsQuota", "CPUShares", "CPUSet", "PidsLimit", "IPv4Forwarding", "OomKillDisable",
	} {
		all[yes] = true
	}
	return writeJSON(w, http.StatusOK, all)
}

func cgroupVersion() string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return "2"
	}
	return "1"
}

// machine is uname -m.
func machine() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return runtime.GOARCH
	}
	return unix.ByteSliceToString(u.Machine[:])
}

// operatingSystem is PRETTY_NAME of os-release(5).
func operatingSystem() string {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "linux"
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return "linux"
}

func auth(w http.ResponseWriter, _ *http.Request) error {
	return engine.Errorf(engine.NotOffered, "logging in at the engine is not offered: clients send their credentials with each pull and push")
}

// noPlugins is the list of plugins, which are not offered.
func noPlugins(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, []string{})
}

// noPlugin is for docker inspect, which looks there, too.
func noPlugin(_ http.ResponseWriter, r *http.Request) error {
	return engine.Errorf(engine.NotFound, "plugin %q not found", r.PathValue("name"))
}

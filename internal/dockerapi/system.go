package dockerapi

import (
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"
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
	return writeJSON(w, http.StatusOK, system.VersionResponse{
		Platform: system.PlatformInfo{Name: "Tare"},
		Version:  a.o.Version, APIVersion: maxVersion, MinAPIVersion: minVersion,
		Os: "linux", Arch: runtime.GOARCH, GitCommit: a.o.Commit, GoVersion: runtime.Version(), KernelVersion: kernel(),
		Components: []system.ComponentVersion{{
			Name: "Engine", Version: a.o.Version,
			Details: map[string]string{
				"Program": a.e.Program(), "ApiVersion": maxVersion, "MinAPIVersion": minVersion, "Os": "linux", "Arch": runtime.GOARCH,
				"GitCommit": a.o.Commit, "GoVersion": runtime.Version(), "KernelVersion": kernel(),
			},
		}},
	})
}

func (a *api) info(w http.ResponseWriter, _ *http.Request) error {
	st, err := a.e.Store().Images()
	if err != nil {
		return err
	}
	var si unix.Sysinfo_t
	_ = unix.Sysinfo(&si) // it fails for a bad address alone
	name, _ := os.Hostname()
	i := system.Info{
		ID: name, Images: len(st), Driver: "tare", DriverStatus: [][2]string{{"Backing", "EROFS trees over shared objects"}},
		Plugins: system.PluginsInfo{
			Volume: []string{"local"}, Network: []string{"bridge", "host", "macvlan", "null"}, Log: []string{"tare"}, Authorization: nil,
		},
		MemoryLimit: true, SwapLimit: true, CPUCfsPeriod: true, CPUCfsQuota: true, CPUShares: true, CPUSet: true, PidsLimit: true,
		IPv4Forwarding: true, OomKillDisable: true,
		NGoroutines: runtime.NumGoroutine(), SystemTime: time.Now().Format(time.RFC3339Nano), LoggingDriver: "tare",
		CgroupDriver: "cgroupfs", CgroupVersion: cgroupVersion(), NEventsListener: a.e.Listening(), KernelVersion: kernel(),
		OperatingSystem: operatingSystem(), OSType: "linux", Architecture: machine(), NCPU: runtime.NumCPU(),
		MemTotal: int64(si.Totalram) * int64(si.Unit), DockerRootDir: a.e.Root(), Name: name, ServerVersion: a.o.Version,
		Runtimes: map[string]system.RuntimeWithStatus{"tare": {}}, DefaultRuntime: "tare", LiveRestoreEnabled: true,
		SecurityOptions: []string{"name=seccomp,profile=builtin"}, InitBinary: "tare", Labels: []string{}, Warnings: []string{},
		IndexServerAddress: "https://index.docker.io/v1/",
	}
	i.Swarm.LocalNodeState = "inactive"
	for _, c := range a.e.Containers() {
		i.Containers++
		switch v := c.View(); v.State {
		case container.StateRunning, container.StateRestarting:
			i.ContainersRunning++
		case container.StatePaused:
			i.ContainersPaused++
		default:
			i.ContainersStopped++
		}
	}
	return writeJSON(w, http.StatusOK, i)
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

package engine

import (
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"tare.dev/tare/internal/instance"
	"tare.dev/tare/internal/order"
)

// Inspect is all that is known of a container.
func (c *Container) Inspect() *container.InspectResponse {
	v := c.View()
	command := append(slices.Clone(v.Config.Entrypoint), v.Config.Cmd...)
	etc := filepath.Join(c.e.dir(c.id), instance.WriteDir, "etc")
	in := &container.InspectResponse{
		ID: c.id, Created: v.Created.Format(time.RFC3339Nano), Path: command[0], Args: command[1:], State: v.apiState(),
		Image: v.Image, ResolvConfPath: etc + "/resolv.conf", HostnamePath: etc + "/hostname", HostsPath: etc + "/hosts",
		Name: "/" + v.Name, RestartCount: v.Restarts, Driver: "tare", Platform: "linux", HostConfig: v.Host, Config: v.Config,
		GraphDriver: &storage.DriverData{Name: "tare", Data: map[string]string{}},
		Mounts:      v.apiMounts(), ExecIDs: c.e.execs.of(c),
		NetworkSettings: v.networkSettings(),
	}
	if in.Args == nil {
		in.Args = []string{}
	}
	return in
}

func (v *View) apiState() *container.State {
	return &container.State{
		Status: v.State, Running: v.Running() || v.State == container.StateRestarting, Paused: v.State == container.StatePaused,
		Restarting: v.State == container.StateRestarting, OOMKilled: v.OOMKilled, Dead: v.State == container.StateDead,
		Pid: v.Pid, ExitCode: v.ExitCode, Error: v.Error, StartedAt: apiTime(v.StartedAt), FinishedAt: apiTime(v.FinishedAt),
		Health: v.apiHealth(),
	}
}

func apiTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func (v *View) apiMounts() []container.MountPoint {
	out := []container.MountPoint{}
	for _, m := range v.Record.Mounts {
		p := m.MountPoint
		if p.Type == "bind" && p.Propagation == "" {
			p.Propagation = "rprivate"
		}
		out = append(out, p)
	}
	return out
}

func (v *View) networkSettings() *container.NetworkSettings {
	n := &container.NetworkSettings{SandboxID: v.ID, Ports: network.PortMap{}, Networks: v.apiNetworks()}
	if v.Pid > 0 && !v.Host.NetworkMode.IsHost() {
		n.SandboxKey = fmt.Sprintf("/proc/%d/ns/net", v.Pid)
	}
	if v.Running() {
		for p := range v.Config.ExposedPorts {
			n.Ports[p] = nil
		}
		maps.Copy(n.Ports, v.Memory.Ports)
	}
	return n
}

// apiNetworks are those it is in, or, while it does not run, is to be in.
func (v *View) apiNetworks() map[string]*network.EndpointSettings {
	out := map[string]*network.EndpointSettings{}
	for name, e := range v.Networks {
		out[name] = e.Copy()
		if out[name] == nil {
			out[name] = &network.EndpointSettings{}
		}
	}
	for name, e := range v.Attached {
		out[name] = e
	}
	return out
}

// Summary is a container's line in a list.
func (c *Container) Summary() container.Summary {
	v := c.View()
	command := append(slices.Clone(v.Config.Entrypoint), v.Config.Cmd...)
	for i, arg := range command {
		if i > 0 && strings.Contains(arg, " ") {
			command[i] = "'" + arg + "'"
		}
	}
	s := container.Summary{
		ID: c.id, Names: []string{"/" + v.Name}, Image: v.Config.Image, ImageID: v.Image, Command: strings.Join(command, " "),
		Created: v.Created.Unix(), Ports: v.ports(), Labels: v.Config.Labels, State: v.State, Status: v.status(time.Now()),
		NetworkSettings: &container.NetworkSettingsSummary{Networks: v.apiNetworks()}, Mounts: v.apiMounts(),
		Health: v.healthSummary(),
	}
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.HostConfig.NetworkMode, s.HostConfig.Annotations = string(v.Host.NetworkMode), v.Host.Annotations
	return s
}

func (v *View) ports() []container.PortSummary {
	out := []container.PortSummary{}
	if !v.Running() {
		return out
	}
	for p := range v.Config.ExposedPorts {
		if len(v.Memory.Ports[p]) == 0 {
			out = append(out, container.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())})
		}
	}
	for p, bindings := range v.Memory.Ports {
		for _, b := range bindings {
			one := container.PortSummary{IP: b.HostIP, PrivatePort: p.Num(), Type: string(p.Proto())}
			_, _ = fmt.Sscan(b.HostPort, &one.PublicPort) // it is a number of ours
			out = append(out, one)
		}
	}
	order.By(out, func(a, b container.PortSummary) int { return int(a.PrivatePort) - int(b.PrivatePort) })
	return out
}

// status is what docker ps says under STATUS.
func (v *View) status(now time.Time) string {
	switch v.State {
	case container.StateRunning, container.StatePaused:
		s := "Up " + ago(now.Sub(v.StartedAt))
		if v.State == container.StatePaused {
			return s + " (Paused)"
		}
		if h := v.healthText(); h != "" {
			return s + " (" + h + ")"
		}
		return s
	case container.StateRestarting:
		return fmt.Sprintf("Restarting (%d) %s ago", v.ExitCode, ago(now.Sub(v.FinishedAt)))
	case container.StateExited:
		return fmt.Sprintf("Exited (%d) %s ago", v.ExitCode, ago(now.Sub(v.FinishedAt)))
	case container.StateRemoving:
		return "Removal In Progress"
	case container.StateDead:
		return "Dead"
	}
	return "Created"
}

// ago is a time in docker's words.
func ago(d time.Duration) string {
	seconds, minutes, hours := int(d.Seconds()), int(d.Minutes()), int(d.Hours()+0.5)
	switch {
	case seconds < 1:
		return "Less than a second"
	case seconds == 1:
		return "1 second"
	case seconds < 60:
		return fmt.Sprintf("%d seconds", seconds)
	case minutes == 1:
		return "About a minute"
	case minutes < 60:
		return fmt.Sprintf("%d minutes", minutes)
	case hours == 1:
		return "About an hour"
	case hours < 48:
		return fmt.Sprintf("%d hours", hours)
	case hours < 24*7*2:
		return fmt.Sprintf("%d days", hours/24)
	case hours < 24*30*2:
		return fmt.Sprintf("%d weeks", hours/24/7)
	case hours < 24*365*2:
		return fmt.Sprintf("%d months", hours/24/30)
	}
	return fmt.Sprintf("%d years", int(d.Hours())/24/365)
}

// Platform is what the containers of this machine are for.
func Platform() string { return "linux/" + runtime.GOARCH }

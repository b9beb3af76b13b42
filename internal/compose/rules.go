package compose

import (
	"fmt"
	"slices"
)

// A rule is what becomes of a key, whatever is below it, or of a value of it.
type rule struct {
	verdict Verdict
	why     string
	value   func(part any) (Verdict, string) // "": the rule's own
	deeper  bool                             // there are rules for what is below
}

// Reasons that several keys have.
const (
	oneDevice = "a device is one machine: nothing is placed, replicated over nodes or rolled out by Compose; tarehub does that"
	building  = "images are built by tarekit build, or elsewhere, and named by image: a device has no compiler"
	windows   = "it is for Windows"
)

// rules is the rule of each key of the Compose specification; a test holds it against the schema of compose-go.
func rules() map[string]rule {
	all := map[string]rule{
		"x-":      {verdict: Ignored, why: "extensions are for other programs"},
		"name":    {verdict: Runs},
		"version": {verdict: Ignored, why: "the specification has done away with it"},
		"include": {verdict: Runs},
		"models":  {verdict: Refused, why: "no runner of models is offered"},
		"jobs.*":  {verdict: Refused, why: "jobs by a schedule are not offered: run a service with a loop, or cron in it"},

		"networks.*.driver": {value: oneOf("drivers of networks are bridge, host, none and macvlan", "bridge", "host", "none", "null", "macvlan", "")},
		"networks.*.ipam":   {verdict: Runs}, "networks.*.attachable": {verdict: Ignored, why: "every network is"},
		"networks.*.driver_opts": {verdict: Runs}, "networks.*.enable_ipv4": {verdict: Runs}, "networks.*.enable_ipv6": {verdict: Runs},
		"networks.*.external": {verdict: Runs}, "networks.*.internal": {verdict: Runs}, "networks.*.labels": {verdict: Runs}, "networks.*.name": {verdict: Runs},

		"volumes.*.driver":      {value: oneOf("the driver of volumes is local", "local", "")},
		"volumes.*.driver_opts": {verdict: Runs}, "volumes.*.external": {verdict: Runs}, "volumes.*.labels": {verdict: Runs}, "volumes.*.name": {verdict: Runs},

		"secrets.*.file": {verdict: Runs}, "secrets.*.environment": {verdict: Runs}, "secrets.*.name": {verdict: Runs}, "secrets.*.labels": {verdict: Ignored, why: "Compose mounts a file, which has no labels"},
		"secrets.*.external": {verdict: Refused, why: "there is no store of secrets but files: name one"}, "secrets.*.driver": {verdict: Refused, why: oneDevice},
		"secrets.*.driver_opts": {verdict: Refused, why: oneDevice}, "secrets.*.template_driver": {verdict: Refused, why: oneDevice},
		"configs.*.file": {verdict: Runs}, "configs.*.content": {verdict: Runs}, "configs.*.environment": {verdict: Runs}, "configs.*.name": {verdict: Runs},
		"configs.*.labels": {verdict: Ignored, why: "Compose mounts a file, which has no labels"}, "configs.*.external": {verdict: Refused, why: "there is no store of configs but files: name one"},
		"configs.*.template_driver": {verdict: Refused, why: oneDevice},
	}
	for _, key := range serviceKeys() {
		all["services.*."+key] = rule{verdict: Runs}
	}
	for key, r := range services() {
		all["services.*."+key] = r
	}
	return all
}

// serviceKeys are the keys of a service that the engine does all of.
func serviceKeys() []string {
	return []string{
		"annotations", "attach", "blkio_config", "cap_add", "cap_drop", "cgroup", "cgroup_parent", "command", "configs", "container_name",
		"cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpus", "cpuset", "depends_on", "device_cgroup_rules", "devices",
		"dns", "dns_opt", "dns_search", "domainname", "entrypoint", "env_file", "environment", "expose", "extends", "extra_hosts", "group_add",
		"healthcheck", "hostname", "image", "init", "label_file", "labels", "links", "mac_address", "mem_limit", "mem_reservation", "mem_swappiness",
		"memswap_limit", "networks", "oom_score_adj", "pids_limit", "platform", "ports", "post_start", "pre_start", "pre_stop", "profiles",
		"pull_policy", "read_only", "restart", "scale", "secrets", "security_opt", "shm_size", "stdin_open", "stop_grace_period", "stop_signal",
		"sysctls", "tmpfs", "tty", "ulimits", "user", "uts", "volumes", "volumes_from", "working_dir",
	}
}

// services are the other keys of a service.
func services() map[string]rule {
	return map[string]rule{
		"build":           {verdict: Refused, why: building},
		"provider":        {verdict: Refused, why: "programs that make services of another kind run on the workstation, not on a device"},
		"develop":         {verdict: Ignored, why: "it is for docker compose watch; tarekit dev does that with a device"},
		"credential_spec": {verdict: Refused, why: windows},
		"isolation":       {verdict: Refused, why: windows, value: oneOf(windows, "default", "")},
		"cpu_count":       {verdict: Refused, why: windows}, "cpu_percent": {verdict: Refused, why: windows},
		"external_links": {verdict: Refused, why: "containers of other projects are reached over a network that both name"},
		"gpus":           {verdict: Refused, why: "name the device files with devices"},
		"models":         {verdict: Refused, why: "no runner of models is offered"},
		"logging":        {value: logging},
		"network_mode":   {verdict: Runs}, "ipc": {verdict: Runs}, "pid": {verdict: Runs},
		"privileged":         {verdict: Runs, why: "it takes the walls away: name devices and capabilities instead"},
		"pull_refresh_after": {verdict: Ignored, why: "what a device pulls is decided by its release"},
		"runtime":            {verdict: Ignored, why: "there is one runtime, Tare's own"},
		"storage_opt":        {verdict: Ignored, why: "what a container writes is in memory, and bounded for all"},
		"umask":              {verdict: Refused, why: "Docker's API has no word for it"},
		"use_api_socket":     {verdict: Refused, why: "whoever has the engine's socket is root on the device: mount it by name if that is meant"},
		"userns_mode":        {value: oneOf("user namespaces by service are not offered", "host", "")},
		"oom_kill_disable":   {verdict: Ignored, why: "a container that may not be killed takes the device down with it"},

		"deploy.labels": {verdict: Ignored, why: oneDevice}, "deploy.endpoint_mode": {verdict: Ignored, why: oneDevice}, "deploy.placement": {verdict: Ignored, why: oneDevice},
		"deploy.rollback_config": {verdict: Ignored, why: oneDevice}, "deploy.update_config": {verdict: Ignored, why: oneDevice},
		"deploy.mode":           {value: oneOf("a device is one machine, which has no jobs of many nodes", "replicated", "global", "")},
		"deploy.replicas":       {value: replicas},
		"deploy.restart_policy": {verdict: Runs}, "deploy.resources.limits": {verdict: Runs},
		"deploy.resources.reservations.memory":            {verdict: Runs},
		"deploy.resources.reservations.cpus":              {verdict: Ignored, why: "a share of processors is given by cpu_shares or cpuset"},
		"deploy.resources.reservations.generic_resources": {verdict: Ignored, why: oneDevice},
		"deploy.resources.reservations.devices":           {verdict: Refused, why: "name the device files with devices"},
	}
}

// oneOf is a rule for values: others are refused.
func oneOf(why string, values ...string) func(any) (Verdict, string) {
	return func(part any) (Verdict, string) {
		text := fmt.Sprint(part)
		if part == nil || slices.Contains(values, text) {
			return Runs, ""
		}
		return Refused, fmt.Sprintf("%q: %s", text, why)
	}
}

// logging: what containers print is in memory, whatever driver is asked for.
func logging(part any) (Verdict, string) {
	m, _ := part.(map[string]any)
	driver, _ := m["driver"].(string)
	switch driver {
	case "", "json-file", "local":
		if m["options"] == nil {
			return Runs, ""
		}
		return Ignored, "output goes to a ring in memory, not to files that would have to be rotated"
	}
	return Ignored, fmt.Sprintf("driver %q: output goes to a ring in memory; docker logs and tare logs read it", driver)
}

func replicas(part any) (Verdict, string) {
	if n, ok := number(part); ok && n > 1 {
		return Runs, fmt.Sprintf("all %d on this one device", n)
	}
	return Runs, ""
}

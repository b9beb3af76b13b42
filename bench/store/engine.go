package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"tare.dev/tare/bench/measure"
)

// An engine pulls and runs images. Its state is below a directory on the disk that is measured
// and, for what it keeps in memory, below another.
type engine struct {
	name    string
	version string
	// daemon is the command line of the process that has to run, if any; ready is a client's that
	// succeeds once it does.
	daemon, ready []string
	env           []string
	processes     []string // names of its programs
	pull          func(ref string) []string
	run           func(ref, id string, args ...string) []string // and wait, and remove
	keep          func(ref, id string) []string                 // run `sleep` detached
	stays         bool                                          // keep's command ends only with the container
	pid           func(id string) []string                      // prints the container's process
	remove        func(id string) []string                      // kill and remove
}

// place is where an engine's state is.
type place struct {
	disk, memory string
	host         string // of the registry
	parent       string // control group of containers, for engines that take one
}

// sleep is what a container does that is kept.
var sleep = []string{"sleep", "1000000"}

func tare(program string, p place) engine {
	base := []string{program, "--root", p.disk + "/tare", "--run", p.memory + "/tare"}
	with := func(args ...string) []string { return append(base[:len(base):len(base)], args...) }
	runtime := []string{program, "runtime", "--root", p.memory + "/tare/runtime"}
	return engine{
		name: "tare", processes: []string{"tare"},
		version: firstLine(program, "version"),
		pull:    func(ref string) []string { return with("pull", "--quiet", "--plain-http", p.host, ref) },
		run: func(ref, id string, args ...string) []string {
			return with(append([]string{"run", "--rm", "--name", id, ref}, args...)...)
		},
		keep:  func(ref, id string) []string { return with(append([]string{"run", "--name", id, ref}, sleep...)...) },
		stays: true,
		pid: func(id string) []string {
			return []string{"sh", "-c", strings.Join(runtime, " ") + " state " + id + ` | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p'`}
		},
		remove: func(id string) []string {
			return append(runtime[:len(runtime):len(runtime)], "kill", id, "KILL")
		},
	}
}

func docker(p place) engine {
	socket := "unix://" + p.memory + "/docker.sock"
	with := func(args ...string) []string { return append([]string{"docker", "--host", socket}, args...) }
	return engine{
		name: "docker", processes: []string{"docker", "dockerd", "containerd", "docker-untar", "exe"},
		version: firstLine("dockerd", "--version"),
		daemon: []string{
			"dockerd", "--data-root", p.disk + "/docker", "--exec-root", p.memory + "/docker",
			"--pidfile", p.memory + "/docker.pid", "--host", socket, "--storage-driver", "overlay2",
			"--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none",
			"--cgroup-parent", p.parent, "--exec-opt", "native.cgroupdriver=cgroupfs",
		},
		ready: with("version"),
		env:   []string{"DOCKER_CONFIG=" + p.memory, "DOCKER_CLI_HINTS=false"},
		pull:  func(ref string) []string { return with("pull", "--quiet", ref) },
		run: func(ref, id string, args ...string) []string {
			return with(append([]string{"run", "--rm", "--network", "none", "--name", id, ref}, args...)...)
		},
		keep: func(ref, id string) []string {
			return with(append([]string{"run", "--detach", "--network", "none", "--name", id, ref}, sleep...)...)
		},
		pid:    func(id string) []string { return with("inspect", "--format", "{{.State.Pid}}", id) },
		remove: func(id string) []string { return with("rm", "--force", id) },
	}
}

func containerd(p place) (engine, error) {
	config := p.memory + "/containerd.toml"
	err := os.WriteFile(config, []byte(`version = 2
root = "`+p.disk+`/containerd"
state = "`+p.memory+`/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "`+p.memory+`/containerd.sock"
`), 0o644)
	with := func(args ...string) []string {
		return append([]string{"ctr", "--address", p.memory + "/containerd.sock", "--namespace", strings.Trim(p.parent, "/")}, args...)
	}
	return engine{
		name: "containerd", processes: []string{"containerd", "ctr"},
		version: firstLine("containerd", "--version"),
		daemon:  []string{"containerd", "--config", config},
		ready:   with("version"),
		pull: func(ref string) []string {
			return with("images", "pull", "--plain-http", "--snapshotter", "overlayfs", ref)
		},
		run: func(ref, id string, args ...string) []string {
			return with(append([]string{"run", "--rm", "--snapshotter", "overlayfs", ref, id}, args...)...)
		},
		keep: func(ref, id string) []string {
			return with(append([]string{"run", "--detach", "--snapshotter", "overlayfs", ref, id}, sleep...)...)
		},
		pid: func(id string) []string {
			return []string{"sh", "-c", strings.Join(with("tasks", "list"), " ") + ` | awk '$1 == "` + id + `" {print $2}'`}
		},
		remove: func(id string) []string {
			return []string{"sh", "-c", strings.Join(with("tasks", "delete", "--force", id), " ") + ";" +
				strings.Join(with("containers", "delete", id), " ")}
		},
	}, err
}

func podman(p place) engine {
	with := func(args ...string) []string {
		return append([]string{
			"podman", "--root", p.disk + "/podman", "--runroot", p.memory + "/podman/run", "--tmpdir", p.memory + "/podman/tmp",
			"--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
		}, args...)
	}
	options := func(verb, id string) []string {
		return with(verb, "--network", "none", "--cgroup-parent", p.parent, "--name", id,
			"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
	}
	return engine{
		name: "podman", processes: []string{"podman", "exe", "storage-untar"},
		version: firstLine("podman", "--version"),
		pull:    func(ref string) []string { return with("pull", "--quiet", "--tls-verify=false", ref) },
		run: func(ref, id string, args ...string) []string {
			return append(append(options("run", id), "--rm", ref), args...)
		},
		keep: func(ref, id string) []string {
			return append(append(options("run", id), "--detach", ref), sleep...)
		},
		pid:    func(id string) []string { return with("inspect", "--format", "{{.State.Pid}}", id) },
		remove: func(id string) []string { return with("rm", "--force", "--time", "0", id) },
	}
}

// engines are those that are here and wanted.
func (o options) engines(p place) ([]engine, error) {
	var all []engine
	if measure.Wants(o.only, "tare") {
		if _, err := os.Stat(o.tare); err != nil {
			return nil, fmt.Errorf("%w; `make build` makes it", err)
		}
		all = append(all, tare(o.tare, p))
	}
	has := func(programs ...string) bool {
		for _, program := range programs {
			if _, err := exec.LookPath(program); err != nil {
				return false
			}
		}
		return measure.Wants(o.only, programs[0])
	}
	if has("docker", "dockerd") {
		all = append(all, docker(p))
	}
	if has("containerd", "ctr") {
		e, err := containerd(p)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if has("podman") {
		all = append(all, podman(p))
	}
	return all, nil
}

func firstLine(program string, args ...string) string {
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		return "version unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// A session is an engine at work, with its daemon.
type session struct {
	engine
	place
	group  *measure.Group
	daemon *exec.Cmd
	kept   []*exec.Cmd
	log    string
}

// begin starts what has to run before the first command.
func (e engine) begin(ctx context.Context, p place) (*session, error) {
	g, err := measure.NewGroup(p.parent + "-" + e.name)
	if err != nil {
		return nil, err
	}
	s := &session{engine: e, place: p, group: g, log: filepath.Join(p.memory, e.name+".log")}
	if e.daemon == nil {
		return s, nil
	}
	s.daemon = s.command(e.daemon)
	log, err := os.Create(s.log)
	if err != nil {
		return s, err
	}
	defer log.Close()
	s.daemon.Stdout, s.daemon.Stderr = log, log
	if err := s.daemon.Start(); err != nil {
		return s, err
	}
	return s, eventually(ctx, e.name+" answers", func() bool { return s.command(e.ready).Run() == nil })
}

// command is one in the engine's group, with its temporary files on the disk.
func (s *session) command(argv []string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(append(os.Environ(), "TMPDIR="+s.disk+"/tmp"), s.env...)
	s.group.Adopt(cmd)
	return cmd
}

// do runs a command to its end.
func (s *session) do(argv []string) (string, error) {
	out, err := s.command(argv).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// start starts a container that stays, and returns its process.
func (s *session) start(ctx context.Context, ref, id string) (int, error) {
	if !s.stays {
		if _, err := s.do(s.keep(ref, id)); err != nil {
			return 0, err
		}
	} else {
		cmd := s.command(s.keep(ref, id))
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		s.kept = append(s.kept, cmd)
	}
	pid := 0
	err := eventually(ctx, s.name+" runs "+ref, func() bool {
		out, err := s.do(s.pid(id))
		pid, _ = strconv.Atoi(out)
		return err == nil && pid > 0
	})
	return pid, err
}

// end stops the daemon, and waits until nothing uses the disk.
func (s *session) end(ctx context.Context) error {
	for _, cmd := range s.kept {
		_ = cmd.Wait() // killed with its container
	}
	if s.daemon != nil && s.daemon.Process != nil {
		_ = s.daemon.Process.Signal(syscall.SIGTERM)
		_ = s.daemon.Wait() // its status says nothing about what was measured
	}
	return s.group.End(ctx)
}

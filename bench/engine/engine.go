package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tare.dev/tare/bench/measure"
)

// An engine is a daemon that serves the Docker Engine API on a socket.
type engine struct {
	name     string
	version  string
	daemon   []string
	socket   string
	programs []string // all that is installed for it
}

// engines are those that are here and wanted. Their state is on the disk and below memory.
func (b *bench) engines(disk, memory string) []engine {
	all := []engine{
		{
			name: "tare", version: firstLine(b.o.tare, "version"),
			daemon: []string{b.o.tare, "--root", disk + "/tare", "--run", memory + "/tare", "daemon"},
			socket: memory + "/tare/tare.sock", programs: []string{b.o.tare},
		},
		{
			name: "docker", version: firstLine("dockerd", "--version"),
			daemon: []string{
				"dockerd", "--data-root", disk + "/docker", "--exec-root", memory + "/docker",
				"--pidfile", memory + "/docker.pid", "--host", "unix://" + memory + "/docker.sock", "--storage-driver", "overlay2",
				"--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none",
				"--cgroup-parent", b.parent, "--exec-opt", "native.cgroupdriver=cgroupfs",
			},
			socket: memory + "/docker.sock", programs: []string{"dockerd", "containerd", "containerd-shim-runc-v2", "runc", "docker"},
		},
		{
			name: "podman", version: firstLine("podman", "--version"),
			daemon: []string{
				"podman", "--root", disk + "/podman", "--runroot", memory + "/podman/run", "--tmpdir", memory + "/podman/tmp",
				"--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
				"system", "service", "--time", "0", "unix://" + memory + "/podman.sock",
			},
			socket: memory + "/podman.sock", programs: []string{"podman", "conmon", "crun"},
		},
	}
	var here []engine
	for _, e := range all {
		if _, err := exec.LookPath(e.daemon[0]); err == nil && measure.Wants(b.o.only, e.name) {
			here = append(here, e)
		}
	}
	return here
}

// installed is the size of its programs in bytes.
func (e engine) installed() (sum int64) {
	for _, p := range e.programs {
		path, err := exec.LookPath(p)
		if err != nil {
			continue
		}
		if st, err := os.Stat(path); err == nil {
			sum += st.Size()
		}
	}
	return sum
}

func firstLine(program string, args ...string) string {
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		return "version unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// A session is an engine at work.
type session struct {
	engine
	*client
	group *measure.Group
	disk  *measure.Disk
	cmd   *exec.Cmd
	log   string
	self  string // the bench's mount namespace
}

func (b *bench) begin(ctx context.Context, e engine, d *measure.Disk) (*session, error) {
	g, err := measure.NewGroup(b.parent + "-" + e.name)
	if err != nil {
		return nil, err
	}
	s := &session{engine: e, client: newClient(e.socket), group: g, disk: d, log: filepath.Join(b.dir, e.name+".log")}
	if s.self, err = os.Readlink("/proc/self/ns/mnt"); err != nil {
		return s, err
	}
	log, err := os.Create(s.log)
	if err != nil {
		return s, err
	}
	defer log.Close()
	s.cmd = exec.Command(e.daemon[0], e.daemon[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.Env = append(os.Environ(), "TMPDIR="+d.Dir+"/tmp")
	g.Adopt(s.cmd)
	if err := s.cmd.Start(); err != nil {
		return s, err
	}
	for deadline := time.Now().Add(time.Minute); ; {
		if err = s.do(ctx, "GET", "/_ping", nil, nil); err == nil {
			return s, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return s, fmt.Errorf("%s does not answer: %w; it says: %s", e.name, err, s.tail())
		}
		measure.Pause(ctx, 20*time.Millisecond)
	}
}

// tail is the end of what the daemon said.
func (s *session) tail() string {
	text, _ := os.ReadFile(s.log)
	return string(text[max(0, len(text)-500):])
}

func (s *session) end(ctx context.Context) error {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		done := make(chan struct{})
		go func() {
			_ = s.cmd.Wait() // its status says nothing about what was measured
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
		}
	}
	return s.group.End(ctx)
}

// pss is the memory of the engine's own processes, each with its part of what it shares: those in its control group
// that are in the bench's mount namespace, which containers are not.
func (s *session) pss() (sum int64, err error) {
	for _, pid := range s.group.Processes() {
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
		if err != nil || ns != s.self && !s.helper(pid) {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		sum += measure.Kilobytes(text, "Pss:")
	}
	return sum, nil
}

// helper tells whether a process in another mount namespace is the engine's all the same.
func (s *session) helper(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && !strings.HasPrefix(string(text), "/bin/busybox") && !strings.HasPrefix(string(text), "sleep")
}

package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// bundleOf makes a bundle around the host's static busybox that runs args.
func bundleOf(t testing.TB, edit func(*specs.Spec), args ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs the program busybox")
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, d := range []string{"bin", "proc", "dev", "sys", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "rootfs/bin/busybox"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	link(t, "busybox", filepath.Join(dir, "rootfs/bin/sh"))
	s := specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}},
		Root:    &specs.Root{Path: "rootfs"},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=755"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace}}},
	}
	if edit != nil {
		edit(&s)
	}
	b, err := json.Marshal(&s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func testStore(t *testing.T) (s Store, id string) {
	return Store{Root: filepath.Join(t.TempDir(), "state")}, fmt.Sprintf("tare-go-%d-%s", os.Getpid(), strings.ToLower(strings.NewReplacer("/", "-", "#", "-").Replace(t.Name())))
}

func wantStatus(t *testing.T, c *Container, want specs.ContainerState) {
	t.Helper()
	var got State
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var err error
		if got, err = c.State(); err != nil {
			t.Fatal(err)
		}
		if got.Status == want {
			return
		}
	}
	t.Fatalf("status %s, want %s", got.Status, want)
}

func TestLifecycle(t *testing.T) {
	s, id := testStore(t)
	c, err := s.Create(id, CreateOptions{Adopted: true, Bundle: bundleOf(t, nil, "sh", "-c", "trap 'exit 7' TERM; touch /tmp/up; while :; do sleep 0.02; done")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(true) })
	wantStatus(t, c, specs.StateCreated)
	if _, err := s.Create(id, CreateOptions{}); !errors.Is(err, ErrExist) {
		t.Errorf("the same name again: %v, want ErrExist", err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, c, specs.StateRunning)
	if err := c.Start(); err == nil {
		t.Error("it can be started twice")
	}
	for range 3 { // what an exec caches must hold
		p, err := c.Exec(ExecOptions{Process: &specs.Process{Args: []string{"sh", "-c", "until [ -e /tmp/up ]; do sleep 0.01; done; exit 42"}, Cwd: "/", Env: []string{"PATH=/bin"}}})
		if err != nil {
			t.Fatal(err)
		}
		if code, err := p.Wait(); err != nil || code != 42 {
			t.Errorf("exec ended with %d, %v", code, err)
		}
	}
	if err := c.Delete(false); !errors.Is(err, ErrNotStopped) {
		t.Errorf("delete while it runs: %v, want ErrNotStopped", err)
	}
	first, err := c.process()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Signal(unix.SIGTERM, false); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, c, specs.StateStopped)
	if _, err := (&Process{Pid: first.pid, pidfd: -1}).Wait(); err != nil { // it is our child
		t.Error(err)
	}
	if st, err := c.State(); err != nil || st.ExitStatus != nil && *st.ExitStatus != 7 {
		t.Errorf("exit status %v, %v, want 7", st.ExitStatus, err)
	}
	if _, err := c.Exec(ExecOptions{Process: &specs.Process{Args: []string{"sh"}, Cwd: "/"}}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("exec in a stopped one: %v, want ErrNotRunning", err)
	}
	if err := c.Delete(false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(id); !errors.Is(err, ErrNotExist) {
		t.Errorf("after delete: %v, want ErrNotExist", err)
	}
}

func TestFailedCreateTakesBackAll(t *testing.T) {
	for name, edit := range map[string]func(*specs.Spec){
		"spec":    func(s *specs.Spec) { s.Process.Cwd = "relative" },
		"program": func(s *specs.Spec) { s.Process.Args = []string{"/not/there"} },
		"mount":   func(s *specs.Spec) { s.Mounts[1].Type = "nonsense" },
		"hook":    func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/false"}}} },
	} {
		t.Run(name, func(t *testing.T) {
			s, id := testStore(t)
			before := descriptors(t)
			if _, err := s.Create(id, CreateOptions{Bundle: bundleOf(t, edit, "sh")}); err == nil {
				t.Error("it was created")
			}
			if entries, _ := os.ReadDir(s.Root); len(entries) > 0 {
				t.Errorf("left state %v", entries)
			}
			if n := descriptors(t); n > before {
				t.Errorf("left %d descriptors", n-before)
			}
			var ws unix.WaitStatus
			if pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil); err == nil && pid > 0 {
				t.Errorf("left process %d", pid)
			}
		})
	}
}

// A program that stays starts many at once, from any goroutine.
func TestManyAtOnce(t *testing.T) {
	s, id := testStore(t)
	bundle := bundleOf(t, nil, "sh", "-c", "exit 9")
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			for round := range 3 {
				c, p, err := s.Run(fmt.Sprintf("%s-%d-%d", id, n, round), CreateOptions{Bundle: bundle})
				if err != nil {
					t.Error(err)
					return
				}
				if code, err := p.Wait(); err != nil || code != 9 {
					t.Errorf("ended with %d, %v", code, err)
				}
				if err := c.Delete(true); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	list, err := s.List(func(err error) { t.Error(err) })
	if len(list) > 0 || err != nil {
		t.Errorf("left %v, %v", list, err)
	}
}

package container

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A child that makes containers for its parent is this test binary, called again
// with parentRequest in the environment.
const parentEnv = "TARE_TEST_PARENT"

type parentRequest struct {
	Root, ID, Bundle string
	Do               string // create, run, exec or fail
}

func TestMain(m *testing.M) {
	if text := os.Getenv(parentEnv); text != "" {
		var r parentRequest
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			panic(err)
		}
		if err := r.serve(); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		select {} // until it is killed
	}
	os.Exit(m.Run())
}

// serve does what the request says and prints the number of the process.
func (r parentRequest) serve() error {
	s := Store{Root: r.Root}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	stdio := [3]*os.File{null, null, null}
	o := CreateOptions{Bundle: r.Bundle, Parent: true, Stdio: stdio}
	before, err := openDescriptors(-1)
	if err != nil {
		return err
	}
	p := &Process{pidfd: -1}
	switch r.Do {
	case "create", "fail":
		c, err := s.Create(r.ID, o)
		if err != nil {
			return err
		}
		if err := c.Start(); err != nil {
			return err
		}
		first, err := c.process()
		if err != nil {
			return err
		}
		p.Pid = first.pid
	case "run":
		_, p, err = s.Run(r.ID, o)
	case "exec":
		var c *Container
		if c, err = s.Load(r.ID); err != nil {
			return err
		}
		e := ExecOptions{
			Parent: true, Stdio: stdio,
			Process: &specs.Process{Args: []string{"sh", "-c", waiting}, Cwd: "/", Env: []string{"PATH=/bin"}},
		}
		p, err = c.Exec(e)
		c.mu.Lock()
		c.dropKept() // which is open for the next one
		c.mu.Unlock()
	}
	if err != nil {
		return err
	}
	if _, err := p.Wait(); err == nil {
		return fmt.Errorf("it could wait for process %d", p.Pid)
	}
	p.Release()
	after, err := openDescriptors(-1)
	if err != nil {
		return err
	}
	if len(after) != len(before) {
		return fmt.Errorf("open descriptors: %d before, %d after", len(before), len(after))
	}
	fmt.Println(p.Pid)
	return nil
}

// waiting ends with 7 when it is told to.
const waiting = "trap 'exit 7' TERM; while :; do sleep 0.02; done"

// ask starts a child for a request, and returns what it says.
func ask(t *testing.T, r parentRequest) (*exec.Cmd, string) {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), parentEnv+"="+string(b))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd, strings.TrimSpace(line)
}

func userNS(s *specs.Spec) {
	maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 65536}}
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings, s.Linux.GIDMappings = maps, maps
}

// joinPID is a spec edit that joins the pid namespace of this test's process.
func joinPID(s *specs.Spec) {
	for i := range s.Linux.Namespaces {
		if s.Linux.Namespaces[i].Type == specs.PIDNamespace {
			s.Linux.Namespaces[i].Path = "/proc/self/ns/pid"
		}
	}
}

// tracing is a spec edit after which an exec's process is a copy of us.
func tracing(s *specs.Spec) {
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_SYS_PTRACE"}}
}

// The process of a container made with Parent is its maker's sibling: the maker
// may be killed, and the status goes to the parent.
func TestParentReapsWhatAChildMade(t *testing.T) {
	for name, edit := range map[string]func(*specs.Spec){
		"plain": nil, "user namespace": userNS, "joined pid namespace": joinPID, "tracing": tracing,
	} {
		for _, do := range []string{"create", "run", "exec"} {
			t.Run(name+", "+do, func(t *testing.T) {
				s, id := testStore(t)
				r := parentRequest{Root: s.Root, ID: strings.NewReplacer(",", "", "_", "-").Replace(id), Bundle: bundleOf(t, edit, "sh", "-c", waiting), Do: do}
				if r.Do == "exec" {
					_, first, err := s.Run(r.ID, CreateOptions{Bundle: r.Bundle})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = first.Signal(unix.SIGKILL); _, _ = first.Wait() })
				}
				t.Cleanup(func() {
					if c, err := s.Load(r.ID); err == nil {
						if err := c.Delete(true); err != nil {
							t.Error(err)
						}
					}
				})
				t.Cleanup(func() { // a dead one would keep its pid namespace's first process from ending
					for pid := 1; pid > 0; pid, _ = unix.Wait4(-1, nil, unix.WNOHANG, nil) {
					}
				})
				maker, line := ask(t, r)
				pid, err := strconv.Atoi(line)
				if err != nil {
					t.Fatal(line)
				}
				if err := maker.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = maker.Wait()
				wantReaped(t, pid)
				if r.Do != "exec" {
					c, err := s.Load(r.ID)
					if err != nil {
						t.Fatal(err)
					}
					if st, err := c.State(); err != nil || st.Status != specs.StateStopped || !st.Parent {
						t.Errorf("state %+v, %v, want stopped, and that it is the parent's", st, err)
					}
				}
			})
		}
	}
}

// wantReaped ends pid, which must run and be a child of ours, and reaps it.
func wantReaped(t *testing.T, pid int) {
	t.Helper()
	var ws unix.WaitStatus
	if got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil); got != 0 || err != nil {
		t.Fatalf("wait4(%d) = %d, %v, want that it runs and is a child", pid, got, err)
	}
	time.AfterFunc(10*time.Second, func() { _ = unix.Kill(pid, unix.SIGKILL) }) // a zombie takes no harm
	for {
		_ = unix.Kill(pid, unix.SIGTERM) // until the shell has its trap
		got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil)
		if err != nil {
			t.Fatalf("wait4(%d): %v", pid, err)
		}
		if got == pid {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if ws.ExitStatus() != 7 && ws.Signal() != unix.SIGTERM {
		t.Errorf("it ended with %#x, want 7", ws)
	}
}

// A start that fails leaves nothing: what it made is killed without waiting for
// it, and reaped here.
func TestParentOfFailedCreate(t *testing.T) {
	s, id := testStore(t)
	maker, line := ask(t, parentRequest{
		Root: s.Root, ID: id, Do: "fail",
		Bundle: bundleOf(t, func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/false"}}}
		}, "sh"),
	})
	if !strings.Contains(line, "hook") {
		t.Errorf("it said %q, want the hook's failure", line)
	}
	if entries, _ := os.ReadDir(s.Root); len(entries) > 0 {
		t.Errorf("left state %v", entries)
	}
	_ = maker.Wait()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if err != nil {
			break // no more
		}
		if pid == 0 {
			t.Fatal("left a process that runs")
		}
	}
}

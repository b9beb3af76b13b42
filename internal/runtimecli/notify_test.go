package runtimecli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// systemdSocket is the receiving end of NOTIFY_SOCKET. It closes the descriptors
// that come with a message, as systemd does.
func systemdSocket(t *testing.T, name string) <-chan string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 8)
	go func() {
		defer unix.Close(fd)
		buf, oob := make([]byte, 4096), make([]byte, 64)
		for {
			n, oobn, _, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_CMSG_CLOEXEC)
			if err != nil || n == 0 {
				return
			}
			got <- string(buf[:n])
			if messages, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
				for i := range messages {
					fds, _ := unix.ParseUnixRights(&messages[i])
					for _, f := range fds {
						unix.Close(f)
					}
				}
			}
			if strings.HasPrefix(string(buf[:n]), "BARRIER") {
				return
			}
		}
	}()
	return got
}

func newTestNotifier(t *testing.T, host string) *notifier {
	t.Helper()
	s := newSession(Options{Name: "tare"})
	s.root = t.TempDir()
	s.getenv = func(name string) string {
		return map[string]string{"NOTIFY_SOCKET": host}[name]
	}
	n, err := s.newNotifier("web")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	return n
}

// say sends a message the way a program in the container does.
func say(t *testing.T, n *notifier, message string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	dir, err := unix.Open(n.dir, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	to := &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(dir) + "/notify.sock"}
	if err := unix.Sendto(fd, []byte(message), 0, to); err != nil {
		t.Fatal(err)
	}
}

func TestReadinessIsPassedOn(t *testing.T) {
	for _, host := range []string{filepath.Join(t.TempDir(), "s"), "@tare-test-" + strconv.Itoa(os.Getpid())} {
		got := systemdSocket(t, host)
		n := newTestNotifier(t, host)
		if err := n.prepare(); err != nil {
			t.Fatal(err)
		}
		if err := n.listen(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- n.forward(os.Getpid(), 4711) }()
		say(t, n, "STATUS=warming up\nREADY=10")
		say(t, n, "STATUS=here\nREADY=1\n")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		want := "MAINPID=4711" + "\nREADY=1\n"
		if first := <-got; first != want {
			t.Errorf("systemd got %q, want %q", first, want)
		}
		if second := <-got; second != "BARRIER=1" {
			t.Errorf("systemd got %q, want a barrier", second)
		}
	}
}

func TestReadinessIsNotWaitedForPastTheEnd(t *testing.T) {
	n := newTestNotifier(t, "@nobody")
	if err := n.prepare(); err != nil {
		t.Fatal(err)
	}
	if err := n.listen(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := n.forward(cmd.Process.Pid, 1); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := n.forward(cmd.Process.Pid, 1); err != nil {
		t.Error(err)
	}
}

func TestReadinessThatNobodyHearsIsAnError(t *testing.T) {
	host := filepath.Join(t.TempDir(), "nobody")
	n := newTestNotifier(t, host)
	if err := n.tell(1); err == nil || !strings.Contains(err.Error(), host) {
		t.Errorf("tell = %v", err)
	}
	if err := n.listen(); err == nil || !strings.Contains(err.Error(), n.dir) {
		t.Errorf("listen without a directory = %v", err)
	}
}

func TestBarrierDoesNotWaitForEver(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	if err := barrier(pair[0], nil, 10*time.Millisecond); err != nil {
		t.Error(err)
	}
}

func TestNotifySocketInTheContainer(t *testing.T) {
	n := newTestNotifier(t, "@x")
	spec := &specs.Spec{Process: &specs.Process{Env: []string{"A=1"}}}
	n.edit(spec)
	if err := n.prepare(); err != nil {
		t.Fatal(err)
	}
	if m := spec.Mounts[0]; m.Destination != "/run/notify" || m.Source != n.dir || !slices.Contains(m.Options, "ro") {
		t.Errorf("mount %+v", m)
	}
	if want := []string{"A=1", "NOTIFY_SOCKET=/run/notify/notify.sock"}; !slices.Equal(spec.Process.Env, want) {
		t.Errorf("env %q", spec.Process.Env)
	}
	if err := n.listen(); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(n.dir, "notify.sock")); err != nil || st.Mode().Perm() != 0o777 {
		t.Errorf("socket: %v, %v", st, err)
	}
	if err := n.remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(n.dir); err == nil {
		t.Error("the directory is still there")
	}
}

func TestActivatedSockets(t *testing.T) {
	me := strconv.Itoa(os.Getpid())
	for _, tc := range []struct {
		fds, pid string
		want     int
		fails    bool
	}{
		{"", "", 0, false},
		{"2", me, 2, false},
		{"2", "1", 0, false}, // our parent's
		{"2", "", 0, false},
		{"x", me, 0, true},
		{"-1", me, 0, true},
	} {
		s := newSession(Options{Name: "tare"})
		s.getenv = func(name string) string {
			return map[string]string{"LISTEN_FDS": tc.fds, "LISTEN_PID": tc.pid}[name]
		}
		if n, err := s.activated(); n != tc.want || (err != nil) != tc.fails {
			t.Errorf("LISTEN_FDS=%s LISTEN_PID=%s: %d, %v, want %d", tc.fds, tc.pid, n, err, tc.want)
		}
	}
	spec := exampleSpec(false)
	addActivated(spec, 2)
	if got := spec.Process.Env[2:]; !slices.Equal(got, []string{"LISTEN_FDS=2", "LISTEN_PID=1"}) {
		t.Errorf("env %q", got)
	}
	spec = exampleSpec(false)
	spec.Linux.Namespaces = nil
	addActivated(spec, 2)
	if got := spec.Process.Env[2:]; !slices.Equal(got, []string{"LISTEN_FDS=2"}) {
		t.Errorf("env without a pid namespace %q", got)
	}
}

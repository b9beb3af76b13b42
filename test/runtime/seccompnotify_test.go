package runtimetest

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// notification is struct seccomp_notif of linux/seccomp.h.
type notification struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

// answer is struct seccomp_notif_resp.
type answer struct {
	id    uint64
	val   int64
	error int32
	flags uint32
}

// Numbers of the ioctls: _IOWR('!', 0, struct seccomp_notif) and _IOWR('!', 1, struct seccomp_notif_resp).
const (
	notifyReceive = 0xc0502100
	notifySend    = 0xc0182101
)

// agent accepts the seccomp listener and answers every call with a value.
type agent struct {
	state specs.ContainerProcessState
	fds   int
	err   error
}

func listenForSeccomp(t *testing.T, b *bundle, value int64) (path string, wait func() agent) {
	t.Helper()
	path = b.path("seccomp.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	t.Cleanup(func() { l.Close() })
	came := make(chan agent, 1)
	go func() {
		var a agent
		var fd int
		a, fd = receiveListener(l)
		came <- a
		if a.err == nil {
			answerCalls(fd, value)
		}
	}()
	return path, func() agent {
		t.Helper()
		select {
		case a := <-came:
			return a
		case <-time.After(10 * time.Second):
			t.Fatal("nothing came to the seccomp socket")
		}
		return agent{}
	}
}

func receiveListener(l *net.UnixListener) (a agent, fd int) {
	c, err := l.AcceptUnix()
	if err != nil {
		return agent{err: err}, -1
	}
	defer c.Close()
	buf, oob := make([]byte, 64<<10), make([]byte, 1024)
	n, m, _, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return agent{err: err}, -1
	}
	if messages, err := unix.ParseSocketControlMessage(oob[:m]); err == nil && len(messages) > 0 {
		fds, err := unix.ParseUnixRights(&messages[0])
		a.fds, a.err = len(fds), err
		if len(fds) > 0 {
			fd = fds[0]
		}
	}
	// The rest of the text may follow in further messages.
	text := buf[:n]
	for json.Unmarshal(text, &a.state) != nil {
		more, err := c.Read(buf[len(text):])
		if err != nil {
			a.err = fmt.Errorf("state %q: %w", text, err)
			return a, fd
		}
		text = buf[:len(text)+more]
	}
	return a, fd
}

func answerCalls(fd int, value int64) {
	defer unix.Close(fd)
	for {
		var n notification
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), notifyReceive, uintptr(unsafe.Pointer(&n))); e != 0 {
			if e == unix.EINTR {
				continue
			}
			return
		}
		r := answer{id: n.id, val: value}
		unix.Syscall(unix.SYS_IOCTL, uintptr(fd), notifySend, uintptr(unsafe.Pointer(&r)))
	}
}

func TestSeccompNotifySocketGetsListenerAndState(t *testing.T) {
	t.Parallel()
	needKernel(t, 5, 6)
	b := newBundle(t, "do", "syscall", "getsid", "0", ",", "syscall", "getppid").filter(rule(specs.ActNotify, "getsid"))
	b.Spec.Annotations = map[string]string{"key": "value"}
	path, wait := listenForSeccomp(t, b, 4242)
	b.Spec.Linux.Seccomp.ListenerPath, b.Spec.Linux.Seccomp.ListenerMetadata = path, "some metadata"
	b.create()
	pid := b.pid()
	b.start()
	a := wait()
	if a.err != nil || a.fds != 1 {
		t.Fatalf("%d descriptors, %v", a.fds, a.err)
	}
	s := a.state
	if len(s.Fds) != 1 || s.Fds[0] != specs.SeccompFdName || s.Pid != pid || s.Metadata != "some metadata" || s.Version == "" {
		t.Errorf("process state %+v, want pid %d", s, pid)
	}
	if s.State.ID != b.id || s.State.Bundle != b.dir || s.State.Pid != pid || s.State.Annotations["key"] != "value" {
		t.Errorf("state %+v", s.State)
	}
	eventually(t, "answered", func() bool { return strings.Contains(contents(b.out), "}]") })
	r := b.results(contents(b.out))
	if r[0].Out != "4242" || r[1].Err != "" {
		t.Errorf("%v, want the agent's 4242", r)
	}
}

func TestSeccompNotifyForExec(t *testing.T) {
	t.Parallel()
	needKernel(t, 5, 6)
	b := newBundle(t, "sleep", "60").filter(rule(specs.ActNotify, "getsid"))
	path, wait := listenForSeccomp(t, b, 1)
	b.Spec.Linux.Seccomp.ListenerPath = path
	b.up()
	wait()
	must(t, os.Remove(path))
	_, wait = listenForSeccomp(t, b, 99)
	r := b.execDo("syscall getsid 0")
	if r[0].Out != "99" {
		t.Errorf("%v", r)
	}
	if a := wait(); a.state.Pid == b.pid() || a.state.State.Status != specs.StateRunning {
		t.Errorf("%+v", a.state)
	}
}

func TestSeccompNotifyWithoutAgentFailsCleanly(t *testing.T) {
	t.Parallel()
	needKernel(t, 5, 6)
	b := newBundle(t, "echo").filter(rule(specs.ActNotify, "getsid"))
	b.Spec.Linux.Seccomp.ListenerPath = b.path("nobody.sock")
	wantRefusal(t, b.run(), "nobody.sock")
	for _, l := range b.leftovers() {
		t.Errorf("left %s", l)
	}
}

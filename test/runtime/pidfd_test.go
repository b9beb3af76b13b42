package runtimetest

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pidfdSocket listens and gives the first descriptor that is sent.
func pidfdSocket(t *testing.T, b *bundle) (path string, wait func() *os.File) {
	t.Helper()
	path = b.path("pidfd.sock")
	os.Remove(path)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	t.Cleanup(func() { l.Close() })
	got := make(chan *os.File, 1)
	go func() {
		f, err := receiveFile(l)
		if err != nil {
			close(got)
			return
		}
		got <- f
	}()
	return path, func() *os.File {
		t.Helper()
		select {
		case f, ok := <-got:
			if !ok {
				t.Fatal("the socket brought no descriptor")
			}
			t.Cleanup(func() { f.Close() })
			return f
		case <-time.After(10 * time.Second):
			t.Fatal("nothing came to the pidfd socket")
		}
		return nil
	}
}

func pidOf(t *testing.T, f *os.File) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/fdinfo/" + itoa(int(f.Fd())))
	must(t, err)
	for _, line := range strings.Split(string(text), "\n") {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func TestPidfdSocketGetsTheProcess(t *testing.T) {
	t.Parallel()
	needKernel(t, 5, 3)
	peerLacks(t, "older than --pidfd-socket", "runc", "crun")
	b := newBundle(t, "sleep", "60")
	path, wait := pidfdSocket(t, b)
	b.up("--pidfd-socket", path)
	f := wait()
	if got := pidOf(t, f); got != itoa(b.pid()) {
		t.Errorf("the pidfd is of %s, want %d", got, b.pid())
	}
	path, wait = pidfdSocket(t, b)
	in := b.invocation("exec", "--detach", "--pid-file", b.path("pid"), "--pidfd-socket", path, b.id, "/probe", "sleep", "60")
	if r := call(t, in); r.code != 0 {
		t.Fatal(r)
	}
	text, err := os.ReadFile(b.path("pid"))
	must(t, err)
	if got := pidOf(t, wait()); got != string(text) {
		t.Errorf("exec: the pidfd is of %s, want %s", got, text)
	}
	must(t, unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, 0))
	b.stopped()
}

func TestExecIntoASubgroup(t *testing.T) {
	t.Parallel()
	needController(t, "pids")
	peerLacks(t, "crun takes another form", "crun")
	b := newBundle(t, "sleep", "60").noCgroupNamespace().up()
	sub := b.cgroupDir("pids") + "/sub"
	must(t, os.Mkdir(sub, 0o755))
	option := "pids:sub"
	if unifiedOnly() {
		option = "sub"
	}
	r := b.decode(b.mustExec("--cgroup", option, "--", "/probe", "report"))
	if !strings.Contains(r.Cgroup, "/sub\n") {
		t.Errorf("control groups of exec --cgroup %s: %s", option, r.Cgroup)
	}
	b.refused(nil, "exec", "--cgroup", "missing", b.id, "/probe", "echo")
	b.destroy() // with the subgroup
}

func TestExecIgnorePaused(t *testing.T) {
	t.Parallel()
	needFreezer(t)
	peerLacks(t, "crun has no --ignore-paused", "crun")
	b := newBundle(t, "sleep", "60").up()
	b.must("pause", b.id)
	cmd, out, _ := begin(t, b.invocation("exec", "--ignore-paused", b.id, "/probe", "echo", "x"))
	time.Sleep(100 * time.Millisecond)
	if got := contents(out); got != "" {
		t.Errorf("it ran while paused: %q", got)
	}
	b.must("resume", b.id)
	if code := finish(t, cmd); code != 0 || contents(out) != "x\n" {
		t.Errorf("exit %d, %q", code, contents(out))
	}
}

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestContainerd(t *testing.T) {
	needRoot(t)
	containerd, ctr := needProgram(t, "containerd"), needProgram(t, "ctr")
	image := writeImage(t)
	dir := scratch(t, "ctr")
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, []byte(`version = 2
root = "`+dir+`/root"
state = "`+dir+`/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "`+dir+`/sock"
`), 0o644); err != nil {
		t.Fatal(err)
	}
	// containerd's namespace is also the parent control group.
	namespace := fmt.Sprintf("tare-ctr-%d", os.Getpid())
	c := &ctrEngine{engine: engine{
		name:    "ctr",
		command: []string{ctr, "--address", dir + "/sock", "--namespace", namespace},
		image:   imageName,
		parent:  "/" + namespace,
		runtime: runtimeUnderTest(t),
		state:   filepath.Join(dir, "runtime-state", namespace),
	}}
	c.common = []string{
		"--snapshotter", "native", "--runc-binary", c.runtime, "--runc-root", dir + "/runtime-state",
	}
	t.Cleanup(func() {
		c.removeParent(t)
		killMentioning(t, dir)
	})
	daemon(t, dir, nil, containerd, "--config", config)
	eventually(t, "containerd answers", func() bool { return c.do(t, "version").code == 0 })
	c.must(t, "images", "import", "--snapshotter", "native", image)
	t.Run("Run", c.testRun)
	t.Run("Terminal", c.testTerminal)
	t.Run("Exec", c.testExec)
	t.Run("KillAndDelete", c.testKill)
	t.Run("Pause", c.testPause)
	t.Run("LimitsAndMetrics", c.testLimits)
	t.Run("MountsWithoutPivot", c.testMounts)
	t.Run("SeccompAndUserNamespace", c.testConfined)
	c.leftovers(t)
}

// ctrEngine is containerd's own client, whose commands are its own.
type ctrEngine struct{ engine }

func (c *ctrEngine) foreground(name string, options []string, command ...string) []string {
	args := append([]string{"run", "--rm"}, c.common...)
	args = append(append(args, options...), c.image, name)
	return append(args, command...)
}

// detached starts a container that is killed and removed when the test ends.
func (c *ctrEngine) detached(t *testing.T, name string, options []string, command ...string) (pid string) {
	t.Helper()
	args := append([]string{"run", "--detach"}, c.common...)
	args = append(append(append(args, options...), c.image, name), command...)
	c.must(t, args...)
	pid = strings.Fields(c.line(t, name))[1]
	return pid
}

// remove kills a container and removes every trace of it.
func (c *ctrEngine) remove(t *testing.T, name string) {
	t.Helper()
	c.must(t, "tasks", "kill", "--signal", "KILL", name)
	c.awaitStopped(t, name)
	c.want(t, 0, "tasks", "delete", name)
	c.must(t, "containers", "delete", name)
}

// line is what ctr lists for a container: its name, process and status.
func (c *ctrEngine) line(t *testing.T, name string) string {
	t.Helper()
	for _, line := range strings.Split(c.must(t, "tasks", "list"), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name {
			return line
		}
	}
	t.Fatalf("ctr lists no %s", name)
	return ""
}

func (c *ctrEngine) awaitStopped(t *testing.T, name string) {
	t.Helper()
	eventually(t, name+" has stopped", func() bool { return strings.HasSuffix(c.line(t, name), "STOPPED") })
}

func (c *ctrEngine) testRun(t *testing.T) {
	if got := c.must(t, c.foreground("hello", nil, "echo", "hello")...); got != "hello" {
		t.Errorf("printed %q, want hello", got)
	}
	c.want(t, 7, c.foreground("seven", nil, "sh", "-c", "exit 7")...)
	for _, name := range []string{"no-such-program", "/etc/passwd"} {
		r := c.do(t, c.foreground("wrong", nil, name)...)
		if r.code == 0 || !strings.Contains(r.stderr, name) {
			t.Errorf("%s: exit status %d; %s", name, r.code, r)
		}
		// ctr leaves the container's record when its process cannot start.
		c.do(t, "containers", "delete", "wrong")
	}
}

func (c *ctrEngine) testTerminal(t *testing.T) {
	r := c.terminal(t, "abc\r", c.foreground("tty", []string{"--tty"}, "sh", "-c",
		"tty; "+waitForSize+"read x; echo got $x; exit 5")...)
	for _, want := range []string{"/dev/pts/0\n", "33 97\n", "got abc\n"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the terminal does not show %q: %s", want, r)
		}
	}
	if r.code != 5 {
		t.Errorf("exit status %d, want 5", r.code)
	}
}

func (c *ctrEngine) testExec(t *testing.T) {
	c.detached(t, "target", nil, "sleep", "100")
	defer c.remove(t, "target")
	if got := c.must(t, "tasks", "exec", "--exec-id", "one", "target", "echo", "hello"); got != "hello" {
		t.Errorf("exec printed %q, want hello", got)
	}
	c.want(t, 3, "tasks", "exec", "--exec-id", "two", "--user", "1000", "--cwd", "/tmp", "target",
		"sh", "-c", "[ $(id -u) = 1000 ] && [ $PWD = /tmp ] && exit 3")
	if r := c.do(t, "tasks", "exec", "--exec-id", "three", "target", "no-such-program"); r.code == 0 ||
		!strings.Contains(r.stderr, "no-such-program") {
		t.Errorf("exec of a missing program: exit status %d; %s", r.code, r)
	}
	r := c.terminal(t, "abc\r", "tasks", "exec", "--tty", "--exec-id", "four", "target", "sh", "-c", waitForSize+"read x; echo got $x; exit 4")
	if r.code != 4 || !strings.Contains(r.stdout, "got abc") || !strings.Contains(r.stdout, "33 97") {
		t.Errorf("exec on a terminal: exit status %d; %s", r.code, r)
	}
	if out := c.must(t, "tasks", "ps", "target"); len(strings.Split(out, "\n")) != 2 {
		t.Errorf("ps lists %q, want one process", out)
	}
}

func (c *ctrEngine) testKill(t *testing.T) {
	c.detached(t, "polite", nil, "sh", "-c", "trap 'exit 4' TERM; touch /ready; while :; do sleep .1; done")
	eventually(t, "the container is ready", func() bool {
		return c.do(t, "tasks", "exec", "--exec-id", "look", "polite", "test", "-e", "/ready").code == 0
	})
	c.must(t, "tasks", "kill", "--signal", "TERM", "polite")
	c.awaitStopped(t, "polite")
	if r := c.do(t, "tasks", "delete", "polite"); r.code != 4 && !strings.Contains(r.stderr, "4") {
		t.Errorf("delete reports exit status %d, want 4; %s", r.code, r)
	}
	c.must(t, "containers", "delete", "polite")

	pid := c.detached(t, "many", nil, "sh", "-c", "sleep 1000 & sleep 1000 & wait")
	c.must(t, "tasks", "kill", "--all", "--signal", "KILL", "many")
	c.awaitStopped(t, "many")
	c.want(t, 0, "tasks", "delete", "many")
	c.must(t, "containers", "delete", "many")
	if _, err := os.Stat("/proc/" + pid); err == nil {
		t.Errorf("process %s is still there", pid)
	}
}

func (c *ctrEngine) testPause(t *testing.T) {
	pid := c.detached(t, "paused", nil, "sleep", "100")
	defer c.remove(t, "paused")
	c.must(t, "tasks", "pause", "paused")
	if line := c.line(t, "paused"); !strings.HasSuffix(line, "PAUSED") {
		t.Errorf("status is %q", line)
	}
	if got := group(t, pid, "freezer.state", "cgroup.freeze"); got != "FROZEN" && got != "1" {
		t.Errorf("the freezer says %q", got)
	}
	c.must(t, "tasks", "resume", "paused")
	if line := c.line(t, "paused"); !strings.HasSuffix(line, "RUNNING") {
		t.Errorf("status is %q", line)
	}
}

func (c *ctrEngine) testLimits(t *testing.T) {
	pid := c.detached(t, "limited", []string{"--memory-limit", "67108864", "--cpu-quota", "50000", "--cpu-period", "100000"}, "sleep", "100")
	defer c.remove(t, "limited")
	if got := group(t, pid, "memory.limit_in_bytes", "memory.max"); got != "67108864" {
		t.Errorf("memory limit is %s, want 67108864", got)
	}
	if got, _, _ := strings.Cut(group(t, pid, "cpu.cfs_quota_us", "cpu.max"), " "); got != "50000" {
		t.Errorf("quota is %s, want 50000", got)
	}
	if out := c.must(t, "tasks", "metrics", "limited"); !strings.Contains(out, "67108864") || !strings.Contains(out, "pids.current") {
		t.Errorf("metrics: %q", out)
	}
}

func (c *ctrEngine) testMounts(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	bind := "type=bind,src=" + dir + ",dst=/made/here,options=rbind:ro"
	for _, extra := range [][]string{nil, {"--no-pivot"}, {"--cgroup", c.parent + "/elsewhere"}} {
		out := c.must(t, c.foreground("mounts", append(extra, "--mount", bind), "sh", "-c",
			"cat /made/here/file; touch /made/here/no 2>/dev/null || echo refused; ls -d /proc/1/root/bin")...)
		if want := "from the host\nrefused\n/proc/1/root/bin"; out != want {
			t.Errorf("%q: printed %q, want %q", extra, out, want)
		}
	}
}

func (c *ctrEngine) testConfined(t *testing.T) {
	out := c.must(t, c.foreground("confined", []string{"--seccomp", "--read-only", "--cap-drop", "CAP_NET_RAW"},
		"cat", "/proc/self/status")...)
	if !strings.Contains(out, "Seccomp:\t2") {
		t.Errorf("no filter in\n%s", out)
	}
	out = c.must(t, c.foreground("mapped", []string{"--uidmap", "0:100000:5000", "--gidmap", "0:100000:5000"},
		"cat", "/proc/self/uid_map")...)
	if got := strings.Join(strings.Fields(out), " "); got != "0 100000 5000" {
		t.Errorf("uid map is %q", got)
	}
}

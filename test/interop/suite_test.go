package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// suite is what Docker's and Podman's command lines both promise. Each test
// says what the engine shows its user; how it asks the runtime is its affair.
func (e *engine) suite(t *testing.T) {
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"RunPrintsAndExits", e.testRun},
		{"ExitCodes", e.testExitCodes},
		{"Environment", e.testEnvironment},
		{"Isolation", e.testIsolation},
		{"Terminal", e.testTerminal},
		{"DetachedLogs", e.testLogs},
		{"Exec", e.testExec},
		{"ExecTerminal", e.testExecTerminal},
		{"Stop", e.testStop},
		{"KillWithSignal", e.testKill},
		{"Pause", e.testPause},
		{"Limits", e.testLimits},
		{"Update", e.testUpdate},
		{"OutOfMemory", e.testOutOfMemory},
		{"TopAndStats", e.testTop},
		{"ReadOnlyUserCaps", e.testReadOnly},
		{"Privileged", e.testPrivileged},
		{"Unconfined", e.testUnconfined},
		{"Mounts", e.testMounts},
		{"DevicesSysctlsUlimits", e.testDevices},
		{"SharedNamespaces", e.testShared},
		{"Restart", e.testRestart},
		{"HealthCheck", e.testHealth},
		{"RemoveRunning", e.testRemove},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(t)
		})
	}
	e.leftovers(t)
}

func (e *engine) testRun(t *testing.T) {
	if got := e.must(t, e.run([]string{"--rm"}, "echo", "hello")...); got != "hello" {
		t.Errorf("printed %q, want hello", got)
	}
	r := e.want(t, 0, e.run([]string{"--rm"}, "sh", "-c", "echo out; echo err >&2")...)
	if r.stdout != "out\n" || !strings.Contains(r.stderr, "err\n") {
		t.Errorf("streams are mixed up: %s", r)
	}
	if r := e.feed(t, "typed\n", e.run([]string{"--rm", "--interactive"}, "cat")...); r.stdout != "typed\n" {
		t.Errorf("standard input does not arrive: %s", r)
	}
}

func (e *engine) testExitCodes(t *testing.T) {
	for _, c := range []struct {
		code    int
		command []string
	}{
		{0, []string{"true"}},
		{1, []string{"false"}},
		{42, []string{"sh", "-c", "exit 42"}},
		{127, []string{"no-such-program"}},
		{127, []string{"/no/such/program"}},
		{126, []string{"/etc/passwd"}}, // not executable
		{126, []string{"/etc"}},        // a directory
		{137, []string{"sh", "-c", "sh -c 'kill -KILL $$'; exit $?"}},
	} {
		r := e.do(t, e.run([]string{"--rm"}, c.command...)...)
		if r.code != c.code {
			t.Errorf("%q: exit status %d, want %d; %s", c.command, r.code, c.code, r)
		}
	}
	for _, name := range []string{"no-such-program", "/etc/passwd"} {
		if r := e.do(t, e.run([]string{"--rm"}, name)...); !strings.Contains(r.stderr, name) {
			t.Errorf("the error does not name %s: %s", name, r)
		}
	}
}

func (e *engine) testEnvironment(t *testing.T) {
	out := e.must(t, e.run([]string{
		"--rm", "--env", "A=b c", "--hostname", "boat", "--workdir", "/tmp",
	}, "sh", "-c", "echo $A; hostname; pwd; echo $HOME")...)
	if want := "b c\nboat\n/tmp\n/root"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	out = e.must(t, e.run([]string{"--rm", "--user", "web", "--group-add", "44"}, "sh", "-c", "id; echo $HOME")...)
	if !strings.Contains(out, "uid=1000(web) gid=1000(web)") || !strings.Contains(out, "44(video)") ||
		!strings.HasSuffix(out, "/home") {
		t.Errorf("user is %q", out)
	}
}

func (e *engine) testIsolation(t *testing.T) {
	out := e.must(t, e.run([]string{"--rm"}, "sh", "-c", "echo pid $$; ls /proc | grep -c '^[0-9]'; ls /sys/class/net")...)
	f := strings.Fields(out)
	if len(f) < 4 || f[1] != "1" || !slices.Equal(f[3:], []string{"lo"}) {
		t.Errorf("the container sees %q", out)
	}
	out = e.must(t, e.run([]string{"--rm"}, "cat", "/proc/self/status")...)
	for _, want := range []string{"Seccomp:\t2", "NoNewPrivs:\t0"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, line := range strings.Split(e.must(t, e.run([]string{"--rm"}, "mount")...), "\n") {
		if e.state != "" && strings.Contains(line, e.state) {
			t.Errorf("the runtime's state is mounted: %s", line)
		}
	}
	// Masked and read-only paths.
	r := e.do(t, e.run([]string{"--rm"}, "sh", "-c", "wc -c </proc/kcore; wc -c </proc/keys; echo 1 >/proc/sys/kernel/pid_max")...)
	if r.code == 0 || strings.TrimSpace(strings.ReplaceAll(r.stdout, "0", "")) != "" {
		t.Errorf("masked or read-only paths are open: %s", r)
	}
	out = e.must(t, e.run([]string{"--rm", "--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined"},
		"cat", "/proc/self/status")...)
	if !strings.Contains(out, "Seccomp:\t0") || !strings.Contains(out, "NoNewPrivs:\t1") {
		t.Errorf("security options are lost:\n%s", out)
	}
}

// waitForSize prints the terminal's size once the engine has set it: the
// client of the day does so after the start.
const waitForSize = `i=0; while [ $i -lt 100 ] && [ "$(stty size)" != "33 97" ]; do i=$((i+1)); sleep .05; done; stty size; `

func (e *engine) testTerminal(t *testing.T) {
	r := e.terminal(t, "abc\r", e.run([]string{"--rm", "--interactive", "--tty"}, "sh", "-c",
		"tty; "+waitForSize+"read x; echo got $x; ls -l /dev/console | head -c 1; echo; exit 5")...)
	for _, want := range []string{"/dev/pts/0\n", "33 97\n", "got abc\n", "c\n"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the terminal does not show %q: %s", want, r)
		}
	}
	if r.code != 5 {
		t.Errorf("exit status %d, want 5", r.code)
	}
}

func (e *engine) testLogs(t *testing.T) {
	name := e.start(t, nil, "sh", "-c", "echo one; echo two >&2; exit 3")
	if got := e.must(t, "wait", name); got != "3" {
		t.Errorf("wait printed %q, want 3", got)
	}
	r := e.want(t, 0, "logs", name)
	if !strings.Contains(r.stdout, "one") || !strings.Contains(r.stdout+r.stderr, "two") {
		t.Errorf("logs: %s", r)
	}
	if got := e.inspect(t, name, "{{.State.Status}} {{.State.ExitCode}}"); got != "exited 3" {
		t.Errorf("state is %q, want exited 3", got)
	}
}

func (e *engine) testExec(t *testing.T) {
	name := e.start(t, []string{"--env", "A=1"}, "sleep", "100")
	if got := e.must(t, "exec", "--user", "web", "--workdir", "/tmp", "--env", "B=2", name,
		"sh", "-c", "id -un; pwd; echo $A$B"); got != "web\n/tmp\n12" {
		t.Errorf("exec printed %q", got)
	}
	if r := e.feed(t, "typed\n", "exec", "--interactive", name, "cat"); r.stdout != "typed\n" {
		t.Errorf("standard input does not arrive: %s", r)
	}
	e.want(t, 9, "exec", name, "sh", "-c", "exit 9")
	e.want(t, 143, "exec", name, "sh", "-c", "kill -TERM $$; sleep 9")
	for _, missing := range []string{"no-such-program", "/no/such/program"} {
		// Docker 20.10 reports 126 for a program that exec cannot find, later ones 127.
		if r := e.do(t, "exec", name, missing); r.code != 127 && (e.name != "docker" || r.code != 126) {
			t.Errorf("exec %s: exit status %d, want 127; %s", missing, r.code, r)
		}
	}
	e.want(t, 126, "exec", name, "/etc/passwd")
	out := e.must(t, "exec", name, "sh", "-c", "cat /proc/self/status; cat /proc/1/cmdline | head -c 5")
	if !strings.Contains(out, "Seccomp:\t2") || !strings.HasSuffix(out, "sleep") {
		t.Errorf("exec is not in the container, or not confined:\n%s", out)
	}
	e.must(t, "exec", "--detach", name, "touch", "/tmp/detached")
	eventually(t, "the detached exec's file is there", func() bool {
		return e.do(t, "exec", name, "test", "-e", "/tmp/detached").code == 0
	})
}

func (e *engine) testExecTerminal(t *testing.T) {
	name := e.start(t, nil, "sleep", "100")
	r := e.terminal(t, "abc\r", "exec", "--interactive", "--tty", name, "sh", "-c",
		"tty; "+waitForSize+"read x; echo got $x; exit 6")
	for _, want := range []string{"/dev/pts/", "33 97\n", "got abc\n"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the terminal does not show %q: %s", want, r)
		}
	}
	if r.code != 6 {
		t.Errorf("exit status %d, want 6", r.code)
	}
}

func (e *engine) testStop(t *testing.T) {
	polite := e.start(t, nil, "sh", "-c", "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep .1; done")
	eventually(t, "the container is ready", func() bool { return strings.Contains(e.do(t, "logs", polite).stdout, "ready") })
	e.must(t, "stop", "--time", "20", polite)
	if got := e.inspect(t, polite, "{{.State.Status}} {{.State.ExitCode}}"); got != "exited 4" {
		t.Errorf("state is %q, want exited 4", got)
	}
	if out := e.do(t, "logs", polite).stdout; !strings.Contains(out, "bye") {
		t.Errorf("logs after stop: %q", out)
	}
	t.Run("Deaf", func(t *testing.T) {
		deaf := e.start(t, nil, "sleep", "100") // pid 1 without a handler ignores TERM
		e.must(t, "stop", "--time", "1", deaf)
		if got := e.inspect(t, deaf, "{{.State.Status}} {{.State.ExitCode}}"); got != "exited 137" {
			t.Errorf("state is %q, want exited 137", got)
		}
	})
}

func (e *engine) testKill(t *testing.T) {
	name := e.start(t, nil, "sh", "-c", "trap 'echo usr1' USR1; echo ready; while :; do sleep .1; done")
	eventually(t, "the container is ready", func() bool { return strings.Contains(e.do(t, "logs", name).stdout, "ready") })
	e.must(t, "kill", "--signal", "USR1", name)
	eventually(t, "the signal arrives", func() bool { return strings.Contains(e.do(t, "logs", name).stdout, "usr1") })
	e.must(t, "kill", name)
	eventually(t, "the container has ended", func() bool { return e.inspect(t, name, "{{.State.Status}}") == "exited" })
	if got := e.inspect(t, name, "{{.State.ExitCode}}"); got != "137" {
		t.Errorf("exit status %s, want 137", got)
	}
	if r := e.do(t, "kill", name); r.code == 0 {
		t.Errorf("killing a dead container succeeded: %s", r)
	}
}

func (e *engine) testPause(t *testing.T) {
	name := e.start(t, nil, "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >/tmp/count; sleep .01; done")
	e.must(t, "pause", name)
	if got := e.inspect(t, name, "{{.State.Status}}"); got != "paused" {
		t.Errorf("status is %q, want paused", got)
	}
	pid := e.inspect(t, name, "{{.State.Pid}}")
	if got := group(t, pid, "freezer.state", "cgroup.freeze"); got != "FROZEN" && got != "1" {
		t.Errorf("the freezer says %q", got)
	}
	if r := e.do(t, "exec", name, "true"); r.code == 0 {
		t.Errorf("exec in a paused container succeeded: %s", r)
	}
	e.must(t, "unpause", name)
	if got := e.inspect(t, name, "{{.State.Status}}"); got != "running" {
		t.Errorf("status is %q, want running", got)
	}
	e.must(t, "exec", name, "true")
	e.must(t, "pause", name)
	// Removal of a paused container: start's cleanup.
}

func (e *engine) testLimits(t *testing.T) {
	name := e.start(t, []string{
		"--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5", "--pids-limit", "50", "--cpu-shares", "512", "--cpuset-cpus", "0",
		"--oom-score-adj", "200", "--memory-reservation", "32m",
	}, "sleep", "100")
	pid := e.inspect(t, name, "{{.State.Pid}}")
	for _, c := range []struct {
		files []string
		want  string
	}{
		{[]string{"memory.limit_in_bytes", "memory.max"}, "67108864"},
		{[]string{"cpu.cfs_quota_us", "cpu.max"}, "50000"},
		{[]string{"pids.max"}, "50"},
		{[]string{"cpu.shares", "cpu.weight"}, "512|20|59"}, // old and new conversion of shares to weight
		{[]string{"cpuset.cpus"}, "0"},
		{[]string{"memory.soft_limit_in_bytes", "memory.low"}, "33554432"},
	} {
		if got, _, _ := strings.Cut(group(t, pid, c.files...), " "); !slices.Contains(strings.Split(c.want, "|"), got) {
			t.Errorf("%s is %q, want %s", c.files[0], got, c.want)
		}
	}
	if got := strings.TrimSpace(read(t, "/proc/"+pid+"/oom_score_adj")); got != "200" {
		t.Errorf("oom_score_adj is %s, want 200", got)
	}
	if got := e.must(t, "exec", name, "sh", "-c", "for i in 1 2 3; do sleep .1 & done; wait; nproc"); got != "1" {
		t.Errorf("nproc printed %q, want 1", got)
	}
	// exec is below the limits too.
	r := e.do(t, "exec", name, "sh", "-c", "i=0; while [ $i -lt 100 ]; do sleep 3 & i=$((i+1)); done; echo $i")
	if r.code == 0 {
		t.Errorf("100 processes below a limit of 50: %s", r)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (e *engine) testUpdate(t *testing.T) {
	name := e.start(t, []string{"--memory", "64m"}, "sleep", "100")
	e.must(t, "update", "--memory", "48m", "--memory-swap", "48m", "--cpu-shares", "300", "--cpu-period", "100000", "--cpu-quota", "30000", name)
	pid := e.inspect(t, name, "{{.State.Pid}}")
	if got := group(t, pid, "memory.limit_in_bytes", "memory.max"); got != "50331648" {
		t.Errorf("memory limit is %s, want 50331648", got)
	}
	if got, _, _ := strings.Cut(group(t, pid, "cpu.cfs_quota_us", "cpu.max"), " "); got != "30000" {
		t.Errorf("quota is %s, want 30000", got)
	}
}

func (e *engine) testOutOfMemory(t *testing.T) {
	name := e.start(t, []string{"--memory", "16m", "--memory-swap", "16m"}, "sh", "-c", "tail /dev/zero; echo survived $?; exit 33")
	code := e.must(t, "wait", name)
	if out := e.do(t, "logs", name); code != "33" || !strings.Contains(out.stdout, "survived 137") {
		t.Errorf("exit status %s; %s", code, out)
	}
}

func (e *engine) testTop(t *testing.T) {
	name := e.start(t, []string{"--memory", "64m"}, "sleep", "100")
	if out := e.must(t, "top", name); !strings.Contains(out, "sleep 100") {
		t.Errorf("top: %q", out)
	}
	out := e.must(t, "stats", "--no-stream", name)
	if !strings.Contains(out, "64MiB") && !strings.Contains(out, "67.11MB") {
		t.Errorf("stats does not show the limit: %q", out)
	}
}

func (e *engine) testReadOnly(t *testing.T) {
	out := e.must(t, e.run([]string{
		"--rm", "--read-only", "--tmpfs", "/scratch:size=1m,mode=1777", "--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE", "--user", "web",
	}, "sh", "-c", "touch /tmp/x 2>/dev/null; echo $?; touch /scratch/x; echo $?; grep -E 'Cap(Bnd|Eff)' /proc/self/status; grep ' /scratch ' /proc/mounts")...)
	lines := strings.Split(out, "\n")
	if len(lines) != 5 || lines[0] != "1" || lines[1] != "0" {
		t.Fatalf("printed %q", out)
	}
	if !strings.Contains(lines[2]+lines[3], "CapBnd:\t0000000000000400") {
		t.Errorf("bounding set: %q", lines[2:4])
	}
	if !strings.Contains(lines[4], "size=1024k") {
		t.Errorf("tmpfs options: %q", lines[4])
	}
}

// testPrivileged needs every capability, because engines of the day give a
// privileged container all they know of, not all there are.
func (e *engine) testPrivileged(t *testing.T) {
	if lack := lacking(t); lack != "" && e.name == "docker" {
		t.Skipf("this machine gives root no %s", lack)
	}
	out := e.must(t, e.run([]string{"--rm", "--privileged"}, "sh", "-c",
		"grep CapEff /proc/self/status; grep Seccomp: /proc/self/status; grep -c ' /proc/sys ' /proc/mounts; mount -t tmpfs x /tmp && echo mounted")...)
	own := ""
	for _, line := range strings.Split(read(t, "/proc/self/status"), "\n") {
		if strings.HasPrefix(line, "CapEff") {
			own = line
		}
	}
	if want := own + "\nSeccomp:\t0\n0\nmounted"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
}

// lacking names what is missing from this process's bounding set.
func lacking(t *testing.T) string {
	t.Helper()
	var last int
	if _, err := fmt.Sscan(read(t, "/proc/sys/kernel/cap_last_cap"), &last); err != nil {
		t.Fatal(err)
	}
	for c := range last + 1 {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if has == 0 {
			return fmt.Sprintf("capability %d", c)
		}
	}
	return ""
}

// testUnconfined takes away one protection after the other.
func (e *engine) testUnconfined(t *testing.T) {
	unmask := map[string]string{"docker": "systempaths=unconfined", "podman": "unmask=ALL"}[e.name]
	out := e.must(t, e.run([]string{
		"--rm", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--security-opt", unmask,
	}, "sh", "-c", "grep -c ' /proc/sys ' /proc/mounts; mount -t tmpfs x /tmp && echo mounted")...)
	if out != "0\nmounted" {
		t.Errorf("printed %q", out)
	}
}

func (e *engine) testMounts(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := e.must(t, e.run([]string{
		"--rm", "--volume", dir + ":/rw", "--volume", dir + ":/ro:ro", "--volume", dir + "/file:/etc/one", "--shm-size", "2m",
	}, "sh", "-c", "cat /ro/file /etc/one; touch /ro/no 2>/dev/null || touch /rw/yes; grep ' /dev/shm ' /proc/mounts")...)
	if !strings.HasPrefix(out, "from the host\nfrom the host\n") || !strings.Contains(out, "size=2048k") {
		t.Errorf("printed %q", out)
	}
	if _, err := os.Stat(filepath.Join(dir, "yes")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "no")); err == nil {
		t.Error("a read-only volume was written to")
	}
}

func (e *engine) testDevices(t *testing.T) {
	// One that opens without effect and that no container has by default.
	device := "/dev/fuse"
	if _, err := os.Stat(device); err != nil {
		device = "/dev/loop-control"
	}
	out := e.must(t, e.run([]string{
		"--rm", "--device", device + ":/dev/copy:r", "--sysctl", "net.ipv4.ip_unprivileged_port_start=77",
		"--ulimit", "nofile=123:456", "--ulimit", "nproc=1000:1000",
	}, "sh", "-c", ": </dev/copy && echo readable; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ulimit -Sn; ulimit -Hn; stat -c %t,%T,%a /dev/null /dev/tty; "+
		"(: >/dev/copy) 2>&1 | grep -o 'not permitted'; ls /dev/fd/0")...)
	if want := "readable\n77\n123\n456\n1,3,666\n5,0,666\nnot permitted\n/dev/fd/0"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
}

func (e *engine) testShared(t *testing.T) {
	name := e.start(t, []string{"--ipc", "shareable"}, "sleep", "100")
	target := "container:" + name
	args := e.attached([]string{"--rm", "--network", target, "--pid", target, "--ipc", target}, "sh", "-c", "ps | grep -c 's[l]eep 100'; for n in net pid ipc; do [ \"$(stat -L -c %i /proc/1/ns/$n)\" = \"$(stat -L -c %i /proc/self/ns/$n)\" ] && echo same; done")
	out := e.must(t, args...)
	if out != "1\nsame\nsame\nsame" {
		t.Errorf("printed %q", out)
	}
	host := e.must(t, e.run([]string{"--rm", "--pid", "host", "--uts", "host", "--ipc", "host"}, "stat", "-L", "-c", "%i", "/proc/self/ns/pid", "/proc/self/ns/uts", "/proc/self/ns/ipc")...)
	for i, kind := range []string{"pid", "uts", "ipc"} {
		info, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Split(host, "\n"); !strings.Contains(info, lines[i]) {
			t.Errorf("%s namespace %s is not the host's %s", kind, lines[i], info)
		}
	}
}

func (e *engine) testRestart(t *testing.T) {
	name := e.start(t, nil, "sleep", "100")
	before := e.inspect(t, name, "{{.State.Pid}}")
	e.must(t, "restart", "--time", "0", name)
	if after := e.inspect(t, name, "{{.State.Pid}}"); after == before || after == "0" {
		t.Errorf("pid after restart is %s, before %s", after, before)
	}
	e.must(t, "kill", name)
	eventually(t, "the container has ended", func() bool { return e.inspect(t, name, "{{.State.Status}}") == "exited" })
	e.must(t, "start", name)
	if got := e.inspect(t, name, "{{.State.Status}}"); got != "running" {
		t.Errorf("status is %q, want running", got)
	}
}

func (e *engine) testHealth(t *testing.T) {
	if e.name == "podman" {
		name := e.start(t, []string{"--health-cmd", "test -e /tmp/well", "--health-interval", "disable"}, "sleep", "100")
		e.want(t, 1, "healthcheck", "run", name)
		e.must(t, "exec", name, "touch", "/tmp/well")
		e.must(t, "healthcheck", "run", name)
		return
	}
	name := e.start(t, []string{"--health-cmd", "test -e /tmp/well || touch /tmp/well", "--health-interval", "100ms"}, "sleep", "100")
	eventually(t, "the container is healthy", func() bool { return e.inspect(t, name, "{{.State.Health.Status}}") == "healthy" })
}

func (e *engine) testRemove(t *testing.T) {
	name := e.start(t, nil, "sh", "-c", "sleep 1000 & sleep 1000 & wait")
	pid := e.inspect(t, name, "{{.State.Pid}}")
	e.must(t, append(append([]string{"rm"}, e.force...), name)...)
	if _, err := os.Stat("/proc/" + pid); err == nil {
		t.Errorf("process %s is still there", pid)
	}
	// start's cleanup removes it once more: both engines accept that.
}

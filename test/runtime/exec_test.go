package runtimetest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/test/runtime/report"
)

func TestExecReturnsOutputAndExitCode(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60").up()
	if r := b.mustExec("/probe", "echo", "hello"); r.stdout != "hello\n" {
		t.Error(r)
	}
	for _, code := range []int{1, 42, 255} {
		if r := b.exec("/probe", "exit", strconv.Itoa(code)); r.code != code {
			t.Errorf("want exit code %d: %v", code, r)
		}
	}
	if r := b.exec("/probe", "die", "SIGKILL"); r.code != 128+9 {
		t.Errorf("want 137: %v", r)
	}
	if r := b.exec("/probe", "die", "SIGTERM"); r.code != 128+15 {
		t.Errorf("want 143: %v", r)
	}
	in := memoryFile(t, "stdin")
	_, err := in.WriteAt([]byte("through"), 0)
	must(t, err)
	b.stdin = in
	if r := b.mustExec("/probe", "cat"); r.stdout != "through\n" {
		t.Error(r)
	}
}

func TestExecJoinsEveryNamespace(t *testing.T) {
	t.Parallel()
	for _, user := range []bool{false, true} {
		b := newBundle(t, "sleep", "60")
		if user {
			needNamespace(t, "user")
			b.userNamespace(shiftedRoot, 65536)
		}
		if programsUnderTest(t).name == "tare" && hasNamespace(t, "time") {
			b.namespace(specs.TimeNamespace, "")
		}
		b.up()
		r := b.decode(b.mustExec("/probe", "report"))
		for _, name := range procName {
			if !hasNamespace(t, name) { // of time: kernels for 32-bit ARM
				continue
			}
			want, err := os.Readlink(filepath.Join("/proc", itoa(b.pid()), "ns", name))
			must(t, err)
			if r.Namespaces[name] != want {
				t.Errorf("user namespace %v: %s namespace %s, want %s", user, name, r.Namespaces[name], want)
			}
		}
		if !contains([]string{"/", ""}, r.Cwd) || len(r.Processes) != 2 {
			t.Errorf("working directory %s, sees processes %v", r.Cwd, r.Processes)
		}
		for controller, mount := range hierarchies() {
			if _, err := os.Stat(b.cgroupDir(controller)); err == nil && mount != "" && strings.Contains(r.Cgroup, "..") {
				t.Errorf("not in the container's group: %s", r.Cgroup)
			}
		}
	}
}

func TestExecHasTheContainersProcessSettings(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	p := b.Spec.Process
	p.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{7}}
	p.Cwd, p.Env = "/tmp", append(p.Env, "FROM=container")
	p.OOMScoreAdj = ptr(345)
	p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 5, Hard: 6}}
	b.filter(rule(specs.ActErrno, "getsid"))
	b.up()
	r := b.decode(b.mustExec("/probe", "report"))
	if r.UID[0] != 1000 || r.GID[0] != 1000 || r.Cwd != "/tmp" || !contains(r.Env, "FROM=container") || r.Pid == 1 {
		t.Errorf("uid %v gid %v cwd %s env %q", r.UID, r.GID, r.Cwd, r.Env)
	}
	if r.NoNewPrivs != 1 || r.Seccomp != 2 || r.OOMScoreAdj != 345 || r.Rlimits["RLIMIT_CORE"] != [2]uint64{5, 6} {
		t.Errorf("no_new_privs %d, seccomp %d, oom %d, core %v", r.NoNewPrivs, r.Seccomp, r.OOMScoreAdj, r.Rlimits["RLIMIT_CORE"])
	}
	if r.Caps[report.Bounding] != capKill|capNetBind|capAuditWrite {
		t.Errorf("capabilities %v", r.Caps)
	}
}

func TestExecOptions(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	b.Spec.Process.NoNewPrivileges = false
	b.up()
	r := b.decode(b.mustExec("--cwd", "/tmp", "--env", "A=1", "--env", "B=2", "--env", "TERM=mine", "--user", "1000:2000",
		"--additional-gids", "7", "--additional-gids", "9", "--cap", "CAP_NET_RAW", "--no-new-privs", "--", "/probe", "report"))
	if r.Cwd != "/tmp" || !contains(r.Env, "A=1") || !contains(r.Env, "B=2") {
		t.Errorf("cwd %s env %q", r.Cwd, r.Env)
	}
	if r.UID[0] != 1000 || r.GID[0] != 2000 || r.NoNewPrivs != 1 {
		t.Errorf("uid %v gid %v no_new_privs %d", r.UID, r.GID, r.NoNewPrivs)
	}
	if r.Caps[report.Bounding]&capNetRaw == 0 {
		t.Errorf("--cap CAP_NET_RAW: %v", r.Caps)
	}
	peerLacks(t, "crun 1.8 has no --additional-gids", "crun")
	groups := map[int]bool{}
	for _, g := range r.Groups {
		groups[g] = true
	}
	if !groups[7] || !groups[9] {
		t.Errorf("groups %v", r.Groups)
	}
	last := ""
	for _, e := range r.Env {
		if v, ok := strings.CutPrefix(e, "TERM="); ok {
			last += v + ";"
		}
	}
	if last != "mine;" {
		t.Errorf("TERM is %q", last)
	}
	if home := b.decode(b.mustExec("--user", "1000", "--", "/probe", "report")); !contains(home.Env, "HOME=/home/user") {
		t.Errorf("home of another user: %q", home.Env)
	}
}

func TestExecOfAProcessFile(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60").up()
	p := specs.Process{
		Args: []string{"/probe", "report"}, Cwd: "/tmp", Env: []string{"ONLY=this", b.token}, User: specs.User{UID: 5, GID: 6},
		NoNewPrivileges: true, Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}},
		Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 3, Hard: 4}},
	}
	text, err := json.Marshal(p)
	must(t, err)
	r := b.decode(b.must("exec", "--process", mustWrite(t, b.path("process.json"), string(text)), b.id))
	if r.UID[0] != 5 || r.GID[0] != 6 || r.Cwd != "/tmp" || !contains(r.Env, "ONLY=this") || contains(r.Env, "TERM=xterm") {
		t.Errorf("%+v", r)
	}
	if r.Caps[report.Bounding] != capKill || r.Rlimits["RLIMIT_CORE"] != [2]uint64{3, 4} {
		t.Errorf("capabilities %v, core %v", r.Caps, r.Rlimits["RLIMIT_CORE"])
	}
	b.refused(nil, "exec", "--process", b.path("missing.json"), b.id)
	b.refused(nil, "exec", "--process", mustWrite(t, b.path("bad.json"), "{"), b.id)
}

func TestExecDetachedWithPidFile(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60").up()
	in := b.invocation("exec", "--detach", "--pid-file", b.path("exec.pid"), b.id, "/probe", "sleep", "60")
	out := memoryFile(t, "stdout")
	in.out = out
	if r := call(t, in); r.code != 0 {
		t.Fatal(r)
	}
	eventually(t, "running", func() bool { return strings.Contains(contents(out), "ready") })
	text, err := os.ReadFile(b.path("exec.pid"))
	must(t, err)
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pid", "mnt", "net"} {
		got, _ := os.Readlink(filepath.Join("/proc", itoa(pid), "ns", name))
		want, _ := os.Readlink(filepath.Join("/proc", itoa(b.pid()), "ns", name))
		if got != want {
			t.Errorf("process %d of the pid file has %s, want %s", pid, got, want)
		}
	}
}

func TestExecWithTerminal(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60").up()
	path, master := consoleSocket(t, b)
	in := b.invocation("exec", "--tty", "--detach", "--console-socket", path, b.id, "/probe", "report")
	if r := call(t, in); r.code != 0 {
		t.Fatal(r)
	}
	tr := follow(master())
	tr.ended(t)
	r := b.decode(result{stdout: tr.String()})
	if r.TTY.Terminals != [3]bool{true, true, true} || !r.TTY.Controlling || r.Sid != r.Pid {
		t.Errorf("%+v session %d of %d", r.TTY, r.Sid, r.Pid)
	}
}

func TestExecInForegroundTerminalPassesExitCode(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60").up()
	master, slave := openTerminal(t)
	tr := follow(master)
	in := b.invocation("exec", "-t", b.id, "/probe", "exit", "42")
	in.stdin, in.out, in.err, in.terminal = slave, slave, slave, true
	cmd, _, _ := begin(t, in)
	slave.Close()
	if got := finish(t, cmd); got != 42 {
		t.Errorf("exit code %d: %s", got, tr)
	}
}

// What an engine sends to a foreground exec is meant for the process inside.
func TestSignalsToForegroundRunAndExecAreForwarded(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "wait-signal")
	b.write()
	cmd, out, _ := begin(t, b.invocation("run", "--bundle", b.dir, b.id))
	eventually(t, "ready", func() bool { return strings.Contains(contents(out), "ready") })
	exec, execOut, _ := begin(t, b.invocation("exec", b.id, "/probe", "wait-signal"))
	eventually(t, "ready", func() bool { return strings.Contains(contents(execOut), "ready") })
	must(t, exec.Process.Signal(unix.SIGUSR2))
	finish(t, exec)
	if got := contents(execOut); got != "ready\nSIGUSR2\n" {
		t.Errorf("exec: %q", got)
	}
	must(t, cmd.Process.Signal(unix.SIGUSR1))
	code := finish(t, cmd)
	if got := contents(out); got != "ready\nSIGUSR1\n" || code != 0 {
		t.Errorf("run: %q, %v", got, cmd.ProcessState)
	}
}

func TestExecIntoCreatedContainer(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	b.create()
	if r := b.exec("/probe", "echo", "early"); r.code != 0 || r.stdout != "early\n" {
		t.Error(r)
	}
	if got := b.status(); got != specs.StateCreated {
		t.Errorf("status %s", got)
	}
	b.start()
	b.ready()
}

func TestExecEndsWithTheContainer(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60").up()
	cmd, out, _ := begin(t, b.invocation("exec", b.id, "/probe", "sleep", "60"))
	eventually(t, "ready", func() bool { return strings.Contains(contents(out), "ready") })
	b.must("kill", b.id, "KILL")
	if got := finish(t, cmd); got != 128+9 {
		t.Errorf("exec ended with %d", got)
	}
}

func TestExecUnderLimits(t *testing.T) {
	t.Parallel()
	needController(t, "pids")
	b := newBundle(t, "sleep", "60")
	b.Spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(30))}
	b.up()
	r := b.execDo("fork 100")
	if !strings.Contains(r[0].Err, "resource temporarily unavailable") {
		t.Errorf("%v", r)
	}
}

func TestManyExecsLeaveNothing(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60").up()
	for range 10 {
		b.mustExec("/probe", "echo")
	}
	eventually(t, "alone again", func() bool { return len(b.processes()) == 1 })
	r := b.decode(b.mustExec("/probe", "report"))
	if len(r.Processes) != 2 {
		t.Errorf("processes inside: %v: zombies?", r.Processes)
	}
}

package runtimetest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// often is how many times a command line is repeated. tare stores what it did when a command comes
// again, and the next time does it without looking; what it then does must be the same, and whatever
// the container depends on must be seen to have changed.
const often = 4

// repeating makes room for stored starts: beyond a limit nothing is stored any more.
func repeating(t *testing.T, args ...string) *bundle {
	t.Helper()
	stored, _ := filepath.Glob("/run/tare/start/????????????????")
	for _, f := range stored {
		os.Remove(f)
	}
	b := newBundle(t, args...)
	b.write()
	return b
}

// again runs the bundle as it is on disk.
func (b *bundle) again() result {
	b.t.Helper()
	return b.cli("run", "--bundle", b.dir, b.id)
}

func (b *bundle) againMany() (last result) {
	b.t.Helper()
	for range often {
		last = b.again()
	}
	return last
}

func TestRepeatedRunIsTheSame(t *testing.T) {
	t.Parallel()
	cases := map[string]func(b *bundle){
		"plain":   func(*bundle) {},
		"seccomp": func(b *bundle) { b.filter(rule(specs.ActErrno, "getsid")) },
		"much": func(b *bundle) {
			b.Spec.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{7}}
			b.Spec.Process.OOMScoreAdj = ptr(77)
			b.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 1, Hard: 2}}
			b.Spec.Linux.Sysctl = map[string]string{"kernel.msgmax": "9000"}
			b.Spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(50))}
			b.Spec.Root.Readonly = true
			b.mount(bindOf(mustMkdir(b.t, b.path("volume")), "/data", "ro"))
			b.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/mine", Type: "c", Major: 1, Minor: 3, FileMode: ptr(os.FileMode(0o640))}}
		},
	}
	for name, edit := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := repeating(t, "report")
			edit(b)
			b.write()
			first := b.stable(b.again())
			for n := 2; n <= often; n++ {
				for field, got := range b.stable(b.again()) {
					if !reflect.DeepEqual(got, first[field]) {
						t.Errorf("run %d: %s %v, at first %v", n, field, got, first[field])
					}
				}
				for _, l := range b.leftovers() {
					t.Errorf("run %d left %s", n, l)
				}
			}
		})
	}
}

// stable is a report without what differs between any two runs, by field.
func (b *bundle) stable(r result) map[string]any {
	b.t.Helper()
	rep := b.decode(r)
	rep.Namespaces, rep.Keyring, rep.Monotonic, rep.Boottime = nil, "", 0, 0
	for i := range rep.Mounts {
		rep.Mounts[i].Optional = nil
	}
	for fd := range rep.FDs {
		rep.FDs[fd] = "open"
	}
	text, err := json.Marshal(rep)
	must(b.t, err)
	var fields map[string]any
	must(b.t, json.Unmarshal(text, &fields))
	return fields
}

func TestRepeatedRunReturnsExitCodesAndSignals(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"exit", "42"}, {"exit", "0"}} {
		b := repeating(t, args...)
		for n := range often {
			if r := b.again(); itoa(r.code) != args[1] {
				t.Errorf("run %d: %v", n+1, r)
			}
		}
	}
	b := repeating(t, "wait-signal")
	for n := range often {
		cmd, out, _ := begin(t, b.invocation("run", "--bundle", b.dir, b.id))
		eventually(t, "ready", func() bool { return strings.Contains(contents(out), "ready") })
		if n%2 == 0 {
			must(t, cmd.Process.Signal(unix.SIGUSR1))
		} else {
			b.must("kill", b.id, "USR1")
		}
		if code := finish(t, cmd); code != 0 || contents(out) != "ready\nSIGUSR1\n" {
			t.Errorf("run %d: exit %d, %q", n+1, code, contents(out))
		}
	}
}

// Whatever a start depends on is changed after the command has been repeated.
func TestRepeatedRunSeesWhatChanged(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		args   string
		before func(b *bundle)
		change func(b *bundle)
		check  func(r result) bool
	}{
		"config": {"echo old", nil, func(b *bundle) { b.Spec.Process.Args[2] = "new"; b.write() }, func(r result) bool { return r.stdout == "new\n" }},
		"passwd": {"env HOME", nil, func(b *bundle) { mustWrite(b.t, b.inRoot("etc/passwd"), "root:x:0:0::/moved:/x\n") }, func(r result) bool { return r.stdout == "/moved\n" }},
		"program removed": {"echo x", nil, func(b *bundle) { os.Remove(b.inRoot("probe")) }, func(r result) bool {
			return r.code != 0 && strings.Contains(r.stderr, "no such file or directory")
		}},
		"volume removed": {"echo x", volume, func(b *bundle) { os.RemoveAll(b.path("volume")) }, func(r result) bool { return r.code != 0 && r.stderr != "" }},
		"volume replaced": {"read /data", volume, func(b *bundle) {
			os.RemoveAll(b.path("volume"))
			mustWrite(b.t, b.path("volume"), "a file now")
			os.Remove(b.inRoot("data"))
			mustWrite(b.t, b.inRoot("data"), "")
		}, func(r result) bool { return r.stdout == "a file now\n" }},
		"mount point is a link": {"exists /elsewhere/mark", volume, func(b *bundle) {
			mustWrite(b.t, b.path("volume/mark"), "x")
			os.Remove(b.inRoot("data"))
			mustMkdir(b.t, b.inRoot("elsewhere"))
			must(b.t, os.Symlink("/elsewhere", b.inRoot("data")))
		}, func(r result) bool { return r.code == 0 }},
		"mount point removed": {"stat /data", volume, func(b *bundle) { os.Remove(b.inRoot("data")) }, func(r result) bool { return r.code == 0 }},
		"root replaced": {"read /etc/mark", nil, func(b *bundle) {
			must(b.t, os.Rename(b.rootfs(), b.path("old")))
			makeRootfs(b.t, b.rootfs(), programsUnderTest(b.t).probe)
			mustWrite(b.t, b.inRoot("etc/mark"), "new root")
		}, func(r result) bool { return r.stdout == "new root\n" }},
		"bundle moved":         {"echo x", nil, func(b *bundle) { must(b.t, os.Rename(b.dir, b.path("moved"))) }, func(r result) bool { return r.code != 0 && r.stderr != "" }},
		"state directory gone": {"echo x", nil, func(b *bundle) { os.RemoveAll(b.root) }, func(r result) bool { return r.stdout == "x\n" }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := repeating(t, strings.Fields(c.args)...)
			if c.before != nil {
				c.before(b)
				b.write()
			}
			b.againMany()
			c.change(b)
			for n := range 2 {
				if r := b.again(); !c.check(r) {
					t.Errorf("time %d after the change: %v", n+1, r)
				}
			}
			for _, l := range b.leftovers() {
				t.Errorf("left %s", l)
			}
		})
	}
}

func volume(b *bundle) { b.mount(bindOf(mustMkdir(b.t, b.path("volume")), "/data")) }

// What the caller is or gives is not part of the command line, but part of the start.
func TestRepeatedRunSeesTheCaller(t *testing.T) {
	t.Parallel()
	sh := needProgram(t, "sh")
	b := repeating(t, "report")
	b.againMany()
	base := b.invocation("run", "--bundle", b.dir, b.id)
	as := func(script string) invocation {
		in := base
		in.args = append([]string{"-c", script + `; exec "$@"`, "-", in.path}, in.args...)
		in.path = sh
		return in
	}
	r := b.decode(call(t, as("ulimit -S -c 0; ulimit -S -s 4096; echo 300 > /proc/self/oom_score_adj")))
	if r.Rlimits["RLIMIT_STACK"][0] != 4096<<10 || r.OOMScoreAdj != 300 {
		t.Errorf("stack %v, oom %d: want the caller's", r.Rlimits["RLIMIT_STACK"], r.OOMScoreAdj)
	}
	if r := b.decode(call(t, as("nice -n 0 true; exec 7</etc/passwd 8</"))); len(r.FDs) > 3 {
		t.Errorf("descriptors %v", r.FDs)
	}
	closed := call(t, as("exec <&-"))
	if closed.code == 0 {
		for fd := range b.decode(closed).FDs {
			if fd > 2 {
				t.Errorf("descriptor %d", fd)
			}
		}
	}
	r = b.decode(call(t, as("export LISTEN_FDS=1 LISTEN_PID=$$; exec 3</etc/passwd")))
	if programsUnderTest(t).name != "crun" && (r.FDs[3] == "" || !contains(r.Env, "LISTEN_FDS=1")) {
		t.Errorf("descriptors %v, environment %q", r.FDs, r.Env)
	}
	in := base
	in.env = append(in.env, "NOTIFY_SOCKET=/nowhere", "XDG_RUNTIME_DIR=/nowhere")
	if r := call(t, in); r.code != 0 {
		t.Error(r)
	}
}

// A pipe is given to the process's user, who may then open it by /dev/stdout; a file is not.
func TestRepeatedRunSeesTheKindOfOutput(t *testing.T) {
	t.Parallel()
	b := repeating(t, "report")
	b.Spec.Process.User = specs.User{UID: 1000, GID: 1000}
	b.write()
	if r := b.againMany(); r.code != 0 {
		t.Fatal(r)
	}
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	in := b.invocation("run", "--bundle", b.dir, b.id)
	in.err = w
	if r := call(t, in); r.code != 0 {
		t.Error(r)
	}
	var st unix.Stat_t
	must(t, unix.Fstat(int(w.Fd()), &st))
	if st.Uid != 1000 {
		t.Errorf("the pipe is user %d's, want 1000's", st.Uid)
	}
	must(t, w.Close())
}

func TestRepeatedCommandsOnAContainer(t *testing.T) {
	t.Parallel()
	b := repeating(t, "sleep", "60")
	for n := range often {
		in := b.invocation("create", "--bundle", b.dir, "--pid-file", b.path("pid"), b.id)
		in.out, in.err = b.out, b.err
		if r := call(t, in); r.code != 0 {
			t.Fatal(r)
		}
		if again := b.cli("create", "--bundle", b.dir, "--pid-file", b.path("pid2"), b.id); again.code == 0 {
			t.Errorf("round %d: created twice: %v", n, again)
		}
		text, _ := os.ReadFile(b.path("pid"))
		if s, _ := b.state(); s.Status != specs.StateCreated || itoa(s.Pid) != string(text) {
			t.Errorf("round %d: %+v, pid file %s", n, s, text)
		}
		b.refused(nil, "exec", b.id, "/no/such/program")
		b.must("start", b.id)
		eventually(t, "running", func() bool { return strings.Count(contents(b.out), "ready\n") == n+1 })
		b.refused(nil, "start", b.id)
		b.refused(nil, "delete", b.id)
		for range 3 {
			if r := b.mustExec("/probe", "echo", "inside"); r.stdout != "inside\n" {
				t.Errorf("round %d: %v", n, r)
			}
			if r := b.exec("/probe", "exit", "42"); r.code != 42 {
				t.Errorf("round %d: %v", n, r)
			}
		}
		b.must("kill", b.id, "KILL")
		b.stopped()
		b.refused(nil, "exec", b.id, "/probe", "echo", "inside")
		b.must("delete", b.id)
		b.refused(nil, "delete", b.id)
		for _, l := range b.leftovers() {
			t.Errorf("round %d left %s", n, l)
		}
	}
}

// A later container of the same name is another one.
func TestRepeatedExecJoinsTheContainerOfNow(t *testing.T) {
	t.Parallel()
	b := repeating(t, "sleep", "60")
	for uid := range uint32(3) {
		b.Spec.Process.User = specs.User{UID: uid, GID: uid}
		b.Spec.Hostname = "host" + itoa(int(uid))
		b.out = memoryFile(t, "stdout")
		b.up()
		for range often {
			r := b.decode(b.mustExec("/probe", "report"))
			if r.UID[0] != int(uid) || r.Hostname != b.Spec.Hostname || len(r.Processes) != 2 {
				t.Errorf("container %d: uid %v, hostname %s, processes %v", uid, r.UID, r.Hostname, r.Processes)
			}
		}
		b.must("pause", b.id)
		wantRefusal(t, b.exec("/probe", "report"), "paused")
		b.must("resume", b.id)
		b.destroy()
	}
}

// Root's stored starts are no use to others, and theirs none to root.
func TestRepeatedRunByAnotherUser(t *testing.T) {
	t.Parallel()
	b := rootless(t, "report")
	b.write()
	for range often {
		if r := b.decode(b.again()); !strings.Contains(r.UIDMap, itoa(plainUser)) {
			t.Errorf("uid map %q", r.UIDMap)
		}
	}
	b.credential = nil
	must(t, os.Chmod(b.root, 0o777))
	if r := b.again(); r.code == 0 {
		if got := b.decode(r).UIDMap; !strings.Contains(got, itoa(plainUser)) {
			t.Errorf("as root: %q", got)
		}
	}
}

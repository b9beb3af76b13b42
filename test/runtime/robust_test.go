package runtimetest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The specification wants unknown properties to be no error.
func TestUnknownPropertiesAreIgnored(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo", "ran")
	b.write()
	path := filepath.Join(b.dir, "config.json")
	text, err := os.ReadFile(path)
	must(t, err)
	var config map[string]any
	must(t, json.Unmarshal(text, &config))
	config["unknownTop"] = map[string]any{"a": 1}
	config["process"].(map[string]any)["unknownProcess"] = []int{1}
	config["linux"].(map[string]any)["unknownLinux"] = "x"
	text, err = json.Marshal(config)
	must(t, err)
	must(t, os.WriteFile(path, text, 0o644))
	if r := b.cli("run", "--bundle", b.dir, b.id); r.stdout != "ran\n" {
		t.Error(r)
	}
}

func TestVersionsOfTheSpecification(t *testing.T) {
	t.Parallel()
	peerLacks(t, "crun 1.8 is older", "crun")
	for _, v := range []string{"1.0.0", "1.0.2-dev", "1.1.0+dev", "1.2.0", "1.2.1", "1.3.0"} {
		b := newBundle(t, "echo", "ran")
		b.Spec.Version = v
		if r := b.run(); r.stdout != "ran\n" {
			t.Errorf("version %s: %v", v, r)
		}
	}
}

func TestStartWithoutProcessIsRefused(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo")
	peerLacks(t, "crash", "runc", "crun")
	b.Spec.Process = nil
	if r := b.tryCreate(); r.code != 0 {
		wantRefusal(t, r, "process")
		return
	}
	b.refused(nil, "start", b.id)
}

// Without a mount namespace the runtime would change the root of the machine; here, that of a
// namespace that ends with it.
func TestWithoutMountNamespaceTheHostKeepsItsMounts(t *testing.T) {
	t.Parallel()
	unshare := needProgram(t, "unshare")
	b := newBundle(t, "echo", "ran").noNamespace(specs.MountNamespace)
	b.Spec.Linux.MaskedPaths, b.Spec.Linux.ReadonlyPaths = nil, nil
	b.write()
	before, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	in := b.invocation("run", "--bundle", b.dir, b.id)
	in.args = append([]string{"-m", "--propagation", "private", in.path}, in.args...)
	in.path = unshare
	r := call(t, in)
	if after, _ := os.ReadFile("/proc/self/mountinfo"); strings.Count(string(after), b.id) != strings.Count(string(before), b.id) {
		t.Errorf("mounts are left: %v", r)
	}
	if r.code == 0 && r.stdout != "ran\n" {
		t.Error(r)
	}
}

func TestManyContainersAtOnce(t *testing.T) {
	t.Parallel()
	bundles := make([]*bundle, 16)
	for i := range bundles {
		bundles[i] = newBundle(t, "echo", itoa(i))
		bundles[i].root = bundles[0].root // one state directory for all
		bundles[i].write()
	}
	results := make([]result, len(bundles))
	var all sync.WaitGroup
	for i, b := range bundles {
		all.Go(func() { results[i] = b.cli("run", "--bundle", b.dir, b.id) })
	}
	all.Wait()
	for i, r := range results {
		if r.stdout != itoa(i)+"\n" {
			t.Error(r)
		}
	}
}

// Two that create the same container at once: one gets it, the other an error, nothing is broken.
func TestSameNameAtOnce(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	b.write()
	results := make([]result, 4)
	var all sync.WaitGroup
	for i := range results {
		in := b.invocation("create", "--bundle", b.dir, b.id)
		in.out, in.err = memoryFile(t, "out"), memoryFile(t, "err")
		all.Go(func() { results[i] = call(t, in) })
	}
	all.Wait()
	made := 0
	for _, r := range results {
		if r.code == 0 {
			made++
		}
	}
	if made != 1 {
		t.Errorf("%d of 4 were successful: %v", made, results)
	}
	if got := b.status(); got != specs.StateCreated {
		t.Errorf("status %s", got)
	}
	b.must("start", b.id)
	b.destroy()
}

// Whenever the runtime is killed during create, delete --force finds and removes what there is.
func TestKilledCreateLeavesNothingThatDeleteDoesNotRemove(t *testing.T) {
	t.Parallel()
	peerLacks(t, "leave some", "runc", "crun")
	for delay := time.Duration(0); delay < 12*time.Millisecond; delay += 500 * time.Microsecond {
		b := newBundle(t, "sleep", "60")
		b.write()
		in := b.invocation("create", "--bundle", b.dir, b.id)
		cmd, _, _ := begin(t, in)
		time.Sleep(delay)
		cmd.Process.Kill()
		cmd.Wait()
		b.cli("delete", "--force", b.id)
		for _, l := range b.leftovers() {
			if !strings.HasPrefix(l, "cgroup ") { // empty groups may stay where no state was written yet
				t.Errorf("killed after %v: left %s", delay, l)
			}
		}
		b.removeCgroups()
	}
}

func TestNoPivot(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Process.Args = doArgs([]string{"read /etc/passwd", "ls /", "exists " + b.scratch})
	r := b.results(b.mustRun("--no-pivot").stdout)
	if !strings.HasPrefix(r[0].Out, "root:") || !strings.Contains(r[1].Out, "probe") || r[2].Err == "" {
		t.Errorf("%v", r)
	}
}

func TestLimitOnDescriptorsAboveOurs(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1 << 30, Hard: 1 << 30}}
	b.Spec.Process.Args = []string{"/probe", "report"}
	if r := b.run(); r.code == 0 { // only possible with CAP_SYS_RESOURCE and a large fs.nr_open
		if got := b.decode(r).Rlimits["RLIMIT_NOFILE"][1]; got != 1<<30 {
			t.Errorf("silently %d", got)
		}
	}
}

func TestNegativeOOMScoreIsSetOrRefused(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Process.OOMScoreAdj = ptr(-500)
	b.Spec.Process.Args = []string{"/probe", "report"}
	if r := b.run(); r.code == 0 {
		if got := b.decode(r).OOMScoreAdj; got != -500 {
			t.Errorf("silently %d", got)
		}
	}
}

func TestExplainPrintsTheSystemCalls(t *testing.T) {
	t.Parallel()
	peerLacks(t, "have no explain", "runc", "crun")
	b := newBundle(t, "echo")
	b.write()
	r := b.must("explain", "--bundle", b.dir)
	for _, word := range []string{"pivot_root", "execve", "capset", "/proc"} {
		if !strings.Contains(r.stdout, word) {
			t.Errorf("no %s in: %s", word, clip(r.stdout))
		}
	}
	for _, l := range b.leftovers() {
		t.Errorf("explain made %s", l)
	}
}

// A running container costs its own processes and no other.
func TestNoHelperProcessStays(t *testing.T) {
	t.Parallel()
	needKernel(t, 6, 15) // before, exit statuses need one
	b := newBundle(t, "sleep", "60").up()
	if got := b.processes(); len(got) != 1 || got[0] != b.pid() {
		t.Errorf("processes %v, want only the container's %d", got, b.pid())
	}
	if r := b.mustExec("/probe", "echo"); r.code != 0 {
		t.Error(r)
	}
	eventually(t, "alone again", func() bool { return len(b.processes()) == 1 })
}

func TestLogThatCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo")
	b.write()
	b.refused([]string{"/nowhere"}, "--log", "/nowhere/log", "run", "--bundle", b.dir, b.id)
}

// The number of a dead container's process comes round again; its new owner is none of ours.
func TestReusedPidIsNotTheContainer(t *testing.T) {
	t.Parallel()
	const last = "/proc/sys/kernel/ns_last_pid"
	b := newBundle(t, "exit", "0")
	b.create()
	pid := b.pid()
	b.start()
	eventually(t, "gone", func() bool { return !isDir("/proc/" + itoa(pid)) })
	for range 200 {
		if err := os.WriteFile(last, []byte(itoa(pid-1)), 0); err != nil {
			t.Skipf("needs a kernel that lets us choose a pid: %v", err)
		}
		cmd, _, _ := begin(t, invocation{path: programsUnderTest(t).probe, args: []string{"sleep", "60"}})
		if cmd.Process.Pid != pid {
			cmd.Process.Kill()
			cmd.Wait()
			continue
		}
		if got := b.status(); got != specs.StateStopped {
			t.Errorf("status %s: it takes process %d for the container's", got, pid)
		}
		b.refused(nil, "kill", b.id, "KILL")
		b.must("delete", "--force", b.id)
		if err := cmd.Process.Signal(unix.Signal(0)); err != nil {
			t.Errorf("another process was killed: %v", err)
		}
		cmd.Process.Kill()
		cmd.Wait()
		return
	}
	t.Log("the number did not come round: the machine is too busy to say")
}

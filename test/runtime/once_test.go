package runtimetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// stored is the file that tare keeps for a command line, if it does.
func (b *bundle) stored(args ...string) string {
	in := b.invocation(args...)
	return filepath.Join(sysprog.StoreDir, sysprog.StoredName(append([]string{in.path}, in.args...)))
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// modern skips where nothing is stored: see internal/container/replay.go.
func modern(t *testing.T) {
	t.Helper()
	if programsUnderTest(t).name != "tare" || os.Geteuid() != 0 {
		t.Skip("needs tare, as root")
	}
	var name unix.Utsname
	must(t, unix.Uname(&name))
	var major, minor int
	if n, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); n != 2 || err != nil || major < 6 || major == 6 && minor < 15 {
		t.Skip("needs Linux 6.15: older ones store no starts")
	}
}

func TestRunOfANewNameLeavesNoProgram(t *testing.T) {
	t.Parallel()
	modern(t)
	b := newBundle(t, "exit", "3")
	b.write()
	run := []string{"run", "--bundle", b.dir, b.id}
	if r := b.cli(run...); r.code != 3 {
		t.Fatal(r)
	}
	if there(b.stored(run...)) {
		t.Errorf("%s was left", b.stored(run...))
	}
}

// Go's memory is not kept while a container runs in the foreground.
func TestRunInTheForegroundIsSmall(t *testing.T) {
	t.Parallel()
	modern(t)
	b := newBundle(t, "wait-signal")
	b.write()
	cmd, out, _ := begin(t, b.invocation("run", "--bundle", b.dir, b.id))
	eventually(t, "ready", func() bool { return strings.Contains(contents(out), "ready") })
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	must(t, err)
	kib := 0
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kib); err != nil || kib > 1024 {
		t.Errorf("%d KiB resident (%v), want at most 1024", kib, err)
	}
	must(t, cmd.Process.Signal(unix.SIGUSR1))
	if code := finish(t, cmd); code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestCreateStoresItsStartAndDelete(t *testing.T) {
	t.Parallel()
	modern(t)
	for name, remove := range map[string][]string{"delete": {"delete"}, "by force": {"delete", "--force"}} {
		b := newBundle(t, "exit", "0")
		b.write()
		b.must("create", "--bundle", b.dir, b.id)
		start, end := b.stored("start", b.id), b.stored("delete", b.id)
		b.must("start", b.id)
		if there(start) {
			t.Errorf("%s: %s was left", name, start)
		}
		eventually(t, "stopped", func() bool { return b.status() == "stopped" })
		b.must(append(remove, b.id)...)
		if there(end) {
			t.Errorf("%s: %s was left", name, end)
		}
		for _, l := range b.leftovers() {
			t.Errorf("%s left %s", name, l)
		}
	}
}

// A command that is killed leaves a program that was to run once. A later one removes it.
func TestProgramsOfKilledCommandsAreSwept(t *testing.T) {
	t.Parallel()
	modern(t)
	alive, dead := newBundle(t, "sleep", "60"), newBundle(t, "sleep", "60")
	for _, b := range []*bundle{alive, dead} {
		b.write()
		b.must("create", "--bundle", b.dir, b.id)
	}
	left := dead.stored("delete", dead.id)
	program, err := os.ReadFile(left)
	must(t, err)
	dead.must("delete", "--force", dead.id)
	kept := []string{alive.stored("start", alive.id), alive.stored("delete", alive.id)}
	swept := []string{left, left + ".123", dead.stored("run", dead.id)}
	old := time.Now().Add(-time.Hour)
	for i, path := range swept {
		text := program
		if i > 0 { // of no container
			text = append([]byte("whatever"), 0, 0)
		}
		must(t, os.WriteFile(path, text, 0o400))
		must(t, os.Chtimes(path, old, old))
	}
	for _, path := range kept {
		must(t, os.Chtimes(path, old, old))
	}
	eventually(t, "swept", func() bool {
		must(t, os.Chtimes(filepath.Join(sysprog.StoreDir, "swept"), old, old))
		b := newBundle(t, "exit", "0")
		b.write()
		b.must("run", "--bundle", b.dir, b.id)
		return !there(swept[0]) && !there(swept[1]) && !there(swept[2])
	})
	for _, path := range kept {
		if !there(path) {
			t.Errorf("%s of a container that is there was removed", path)
		}
	}
}

// Another container of the same name must not be started as the first one was to be.
func TestProgramsStoredAheadFitOneContainer(t *testing.T) {
	t.Parallel()
	modern(t)
	b := newBundle(t, "exit", "0")
	b.write()
	b.must("create", "--bundle", b.dir, b.id)
	b.must("delete", "--force", b.id)
	b.refused([]string{"does not exist"}, "start", b.id)
	b.Spec.Process.Args = []string{"/probe", "no such word"}
	b.Spec.Linux.CgroupsPath += "-other"
	b.write()
	b.must("create", "--bundle", b.dir, b.id)
	b.must("start", b.id)
	eventually(t, "stopped", func() bool { return b.status() == "stopped" })
	b.must("delete", b.id)
	for _, l := range b.leftovers() {
		t.Errorf("left %s", l)
	}
}

// A run whose container somebody else deletes leaves alone what has got the name meanwhile.
func TestStoredRunRemovesOnlyItsOwn(t *testing.T) {
	t.Parallel()
	modern(t)
	b := newBundle(t, "wait-signal")
	b.write()
	cmd, out, _ := begin(t, b.invocation("run", "--bundle", b.dir, b.id))
	eventually(t, "ready", func() bool { return strings.Contains(contents(out), "ready") })
	dir := filepath.Join(b.root, b.id)
	lock, err := os.Open(dir)
	must(t, err)
	defer lock.Close()
	must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	must(t, cmd.Process.Signal(unix.SIGUSR1))
	eventually(t, "stopped", func() bool { return b.status() == "stopped" })
	for _, d := range b.cgroupDirs() {
		eventually(t, d+" gone", func() bool { return os.Remove(d) == nil || !there(d) })
	}
	must(t, os.RemoveAll(dir))
	other := mustMkdir(t, dir)
	must(t, os.WriteFile(filepath.Join(other, "state.json"), []byte("another's"), 0o600))
	must(t, unix.Flock(int(lock.Fd()), unix.LOCK_UN))
	if code := finish(t, cmd); code != 0 {
		t.Errorf("exit %d", code)
	}
	if !there(filepath.Join(other, "state.json")) {
		t.Error("removed what was another's")
	}
	must(t, os.RemoveAll(other))
}

// Nothing is done to a container while a stored create makes it.
func TestDeleteWaitsForStoredCreate(t *testing.T) {
	t.Parallel()
	modern(t)
	for range 20 {
		b := newBundle(t, "wait-signal")
		b.write()
		cmd, _, _ := begin(t, b.invocation("create", "--bundle", b.dir, b.id))
		for end := time.Now().Add(10 * time.Second); !there(filepath.Join(b.root, b.id, "state.json")) && time.Now().Before(end); {
			time.Sleep(10 * time.Microsecond)
		}
		must(t, cmd.Process.Signal(unix.SIGSTOP))
		remove, _, errs := begin(t, b.invocation("delete", "--force", b.id))
		time.Sleep(20 * time.Millisecond)
		_ = cmd.Process.Signal(unix.SIGCONT)
		if code := finish(t, cmd); code != 0 {
			t.Errorf("create: exit %d", code)
		}
		if finish(t, remove) != 0 {
			t.Errorf("delete: %s", contents(errs))
		}
		for _, l := range b.leftovers() {
			t.Errorf("left %s", l)
		}
	}
}

// An engine makes the network and gives its path; a stored start opens it anew.
func TestStoredStartJoinsNamespaces(t *testing.T) {
	t.Parallel()
	modern(t)
	other := repeating(t, "wait-signal").up()
	b := newBundle(t, "report")
	for _, n := range []string{"net", "ipc", "uts"} {
		kind := map[string]specs.LinuxNamespaceType{"net": specs.NetworkNamespace, "ipc": specs.IPCNamespace, "uts": specs.UTSNamespace}[n]
		b.namespace(kind, fmt.Sprintf("/proc/%d/ns/%s", other.pid(), n))
	}
	b.Spec.Hostname = ""
	b.write()
	for n := range often {
		got := b.decode(b.again()).Namespaces
		for _, name := range []string{"net", "ipc", "uts"} {
			want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", other.pid(), name))
			must(t, err)
			if got[name] != want {
				t.Errorf("run %d: %s namespace %s, want %s", n+1, name, got[name], want)
			}
		}
		for _, l := range b.leftovers() {
			t.Errorf("run %d left %s", n+1, l)
		}
	}
	if !there(b.stored("run", "--bundle", b.dir, b.id)) {
		t.Log("not stored: another test has made room")
	}
	other.must("kill", other.id, "USR1")
	other.stopped()
	if r := b.again(); r.code == 0 || !strings.Contains(r.stderr, "open network namespace") && !strings.Contains(r.stderr, "namespace") {
		t.Errorf("without the namespaces: %v", r)
	}
}

package runtimetest

import (
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"sort"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestUserAndGroupsAreSet(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Process.User = specs.User{UID: 1234, GID: 2345, AdditionalGids: []uint32{5, 7, 99999}}
	r := b.report()
	if r.UID != [4]int{1234, 1234, 1234, 1234} || r.GID != [4]int{2345, 2345, 2345, 2345} {
		t.Errorf("uid %v gid %v", r.UID, r.GID)
	}
	got := append([]int{}, r.Groups...)
	sort.Ints(got)
	for _, g := range []int{5, 7, 99999} {
		if i := sort.SearchInts(got, g); i == len(got) || got[i] != g {
			t.Errorf("groups %v, want %d", got, g)
		}
	}
	for _, g := range got {
		if g != 5 && g != 7 && g != 99999 && g != 2345 {
			t.Errorf("groups %v: %d was not asked for", got, g)
		}
	}
}

// Groups of the caller must not come along.
func TestNoGroupsOfTheCallerAreKept(t *testing.T) {
	t.Parallel()
	r := newBundle(t).report()
	for _, g := range r.Groups {
		if g != 0 {
			t.Errorf("groups %v", r.Groups)
		}
	}
}

func TestUmask(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Process.User.Umask = ptr(uint32(0o027))
	if got := b.report().Umask; got != 0o027 {
		t.Errorf("umask %o", got)
	}
	r := b.do("create /tmp/file x", "stat /tmp/file")
	if !strings.HasPrefix(r[1].Out, "- 640") {
		t.Errorf("a file made with umask 027: %q", r[1].Out)
	}
}

func TestCwdIsSetAndMadeWhenMissing(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Process.Cwd = "/tmp"
	if got := b.report().Cwd; got != "/tmp" {
		t.Errorf("working directory %q", got)
	}
	peerLacks(t, "crun 1.8 does not make it", "crun")
	b.Spec.Process.Cwd = "/made/for/this"
	if got := b.report().Cwd; got != "/made/for/this" {
		t.Errorf("working directory %q", got)
	}
}

// A directory that only the container's user may enter: the runtime's root rights decide nothing there.
func TestCwdOfAnotherUser(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	dir := mustMkdir(t, b.inRoot("home"))
	must(t, os.Chown(dir, 1000, 1000))
	must(t, os.Chmod(dir, 0o700))
	b.Spec.Process.Cwd = "/home"
	b.Spec.Process.User = specs.User{UID: 1000, GID: 1000}
	if got := b.report().Cwd; got != "/home" {
		t.Errorf("working directory %q", got)
	}
}

func TestCwdMayBeALinkInsideTheRoot(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	must(t, os.Symlink("/tmp", b.inRoot("link")))
	b.Spec.Process.Cwd = "/link"
	if got := b.report().Cwd; got != "/tmp" {
		t.Errorf("working directory %q", got)
	}
}

func TestCwdThatIsAFileIsRefused(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo")
	b.Spec.Process.Cwd = "/etc/passwd"
	peerLacks(t, "has words of its own", "crun")
	wantRefusal(t, b.run(), "not a directory")
}

func TestEnvironmentIsExactlyAsGiven(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.env = []string{"LEAK=secret", "GOMAXPROCS=1", "GODEBUG=x"}
	b.Spec.Process.Env = []string{"PATH=/bin", "A=1", "EMPTY=", "HOME=/set", "WITH=a=b c", b.token}
	r := b.report()
	want := append([]string{}, b.Spec.Process.Env...)
	got := append([]string{}, r.Env...)
	sort.Strings(want)
	sort.Strings(got)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("environment %q, want %q", got, want)
	}
}

func TestDuplicateEnvironmentEntriesResolveToTheLast(t *testing.T) {
	t.Parallel()
	peerLacks(t, "gives both to the program", "crun")
	b := newBundle(t)
	b.Spec.Process.Env = append(b.Spec.Process.Env, "DUP=first", "OTHER=x", "DUP=last")
	r := b.report()
	n := 0
	for _, e := range r.Env {
		if strings.HasPrefix(e, "DUP=") {
			n++
			if e != "DUP=last" {
				t.Errorf("%s", e)
			}
		}
	}
	if n != 1 {
		t.Errorf("%d entries for DUP: %q", n, r.Env)
	}
}

func TestHomeComesFromPasswdOfTheContainer(t *testing.T) {
	t.Parallel()
	peerLacks(t, "crun 1.8 sets none for an unknown user", "crun")
	for uid, want := range map[uint32]string{0: "HOME=/root", 1000: "HOME=/home/user", 4242: "HOME=/"} {
		b := newBundle(t)
		b.Spec.Process.User.UID = uid
		if r := b.report(); !contains(r.Env, want) {
			t.Errorf("uid %d: %q, want %s", uid, r.Env, want)
		}
	}
	b := newBundle(t)
	os.Remove(b.inRoot("etc/passwd"))
	if r := b.report(); !contains(r.Env, "HOME=/") && !contains(r.Env, "HOME=/root") {
		t.Errorf("without passwd: %q", r.Env)
	}
}

func TestProgramIsSearchedInPathOfTheContainer(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	copyFile(t, programsUnderTest(t).probe, b.inRoot("bin/found"), 0o755)
	mustWrite(t, b.inRoot("tmp/found"), "not executable")
	b.Spec.Process.Env = []string{"PATH=/nowhere:/tmp:/bin", b.token}
	b.Spec.Process.Args = []string{"found", "report"}
	r := b.decode(b.mustRun())
	if r.Args[0] != "found" || r.Exe != "/bin/found" {
		t.Errorf("ran %s as %q", r.Exe, r.Args)
	}
	b.Spec.Process.Args = []string{"./found", "report"} // with a slash: relative to the working directory
	b.Spec.Process.Cwd = "/bin"
	if r := b.decode(b.mustRun()); r.Exe != "/bin/found" {
		t.Errorf("ran %s", r.Exe)
	}
}

func TestArgumentsAreGivenUnchanged(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	args := []string{"/probe", "report", "", "two words", "ünïcode", "-x", "--", "a\nb", strings.Repeat("long", 5000)}
	b.Spec.Process.Args = args
	if got := b.decode(b.mustRun()).Args; !reflect.DeepEqual(got, args) {
		t.Errorf("arguments %q", got)
	}
}

func TestScriptWithInterpreterRuns(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	must(t, os.WriteFile(b.inRoot("bin/script"), []byte("#!/probe echo\n"), 0o755))
	b.Spec.Process.Args = []string{"/bin/script", "x"}
	if r := b.mustRun(); r.stdout != "/bin/script x\n" {
		t.Error(r)
	}
}

func TestRlimitsAreSet(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	want := map[string][2]uint64{
		"RLIMIT_CORE": {10, 20}, "RLIMIT_FSIZE": {1 << 30, 1 << 40}, "RLIMIT_STACK": {4 << 20, 8 << 20}, "RLIMIT_NPROC": {1000, 2000},
		"RLIMIT_CPU": {1000, 2000}, "RLIMIT_DATA": {1 << 32, 1 << 33}, "RLIMIT_LOCKS": {5, 6}, "RLIMIT_MEMLOCK": {4096, 8192},
		"RLIMIT_MSGQUEUE": {1000, 2000}, "RLIMIT_NICE": {0, 0}, "RLIMIT_RTPRIO": {0, 0}, "RLIMIT_SIGPENDING": {100, 200},
		"RLIMIT_RSS": {1 << 32, 1 << 33}, "RLIMIT_RTTIME": {1000000, 2000000}, "RLIMIT_NOFILE": {500, 600}, "RLIMIT_AS": {1 << 40, 1 << 41},
	}
	for name, l := range want {
		if l[1] > uint64(^uintptr(0)) { // where the kernel's word has 32 bits, that is no limit
			l = [2]uint64{1 << 30, 1 << 31}
			want[name] = l
		}
		b.Spec.Process.Rlimits = append(b.Spec.Process.Rlimits, specs.POSIXRlimit{Type: name, Soft: l[0], Hard: l[1]})
	}
	r := b.report()
	for name, l := range want {
		got := r.Rlimits[name]
		if name == "RLIMIT_NOFILE" { // the probe's Go runtime raises the soft limit
			got[0] = l[0]
		}
		if got != l {
			t.Errorf("%s is %v, want %v", name, got, l)
		}
	}
}

// The soft limit on descriptors as a program that is not Go gets it: the runtime must not leave its own.
func TestSoftLimitOnDescriptorsIsNotTheRuntimes(t *testing.T) {
	t.Parallel()
	var own unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &own))
	b := newBundle(t, "sleep", "60")
	b.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 111, Hard: 222}}
	b.create()
	text, err := os.ReadFile(filepath.Join("/proc", itoa(b.pid()), "limits"))
	must(t, err)
	for _, line := range strings.Split(string(text), "\n") {
		if f := strings.Fields(line); strings.HasPrefix(line, "Max open files") && (f[3] != "111" || f[4] != "222") {
			t.Errorf("before start: %s, want 111 and 222", line)
		}
	}
}

func TestNoNewPrivileges(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{true, false} {
		b := newBundle(t)
		b.Spec.Process.NoNewPrivileges = on
		if got := b.report().NoNewPrivs == 1; got != on {
			t.Errorf("no_new_privs is %v, want %v", got, on)
		}
	}
}

// Without no_new_privs a set-user-id program gains rights, with it it does not.
func TestSetUserIDProgram(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{true, false} {
		b := newBundle(t)
		reallyCopy(t, programsUnderTest(t).probe, b.inRoot("bin/suid"), 0o755)
		must(t, os.Chmod(b.inRoot("bin/suid"), 0o755|os.ModeSetuid))
		b.Spec.Process.NoNewPrivileges = on
		b.Spec.Process.User = specs.User{UID: 1000, GID: 1000}
		b.Spec.Process.Args = []string{"/bin/suid", "report"}
		want := 0
		if on {
			want = 1000
		}
		if got := b.decode(b.mustRun()).UID[1]; got != want {
			t.Errorf("no_new_privs %v: effective uid %d, want %d", on, got, want)
		}
	}
}

func TestOOMScoreAdj(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Process.OOMScoreAdj = ptr(567)
	if got := b.report().OOMScoreAdj; got != 567 {
		t.Errorf("oom_score_adj %d", got)
	}
	b.Spec.Process.OOMScoreAdj = nil
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	must(t, err)
	if got := b.report().OOMScoreAdj; itoa(got) != strings.TrimSpace(string(own)) {
		t.Errorf("not set, but %d instead of the caller's %s", got, own)
	}
	if now, _ := os.ReadFile("/proc/self/oom_score_adj"); string(now) != string(own) {
		t.Errorf("ours changed from %s to %s", own, now)
	}
}

func TestPersonality(t *testing.T) {
	t.Parallel()
	peerLacks(t, "runc 1.1 has none", "runc")
	if runtime.GOARCH == "arm" {
		t.Skip("execve sets the personality on this CPU") // elf_set_personality in arch/arm/kernel/elf.c
	}
	b := newBundle(t)
	b.Spec.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
	r := b.report()
	if r.Personality != 8 {
		t.Errorf("personality %#x, want PER_LINUX32", r.Personality)
	}
	if r.Machine == "x86_64" {
		t.Errorf("uname says %s", r.Machine)
	}
	b.Spec.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux}
	if got := b.report().Personality; got != 0 {
		t.Errorf("personality %#x, want 0", got)
	}
}

func TestStandardStreamsAreTheCallers(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "cat")
	in := memoryFile(t, "stdin")
	_, err := in.WriteString("through")
	must(t, err)
	_, err = in.Seek(0, 0)
	must(t, err)
	b.stdin = in
	if r := b.mustRun(); r.stdout != "through\n" {
		t.Error(r)
	}
}

func TestSignalMaskIsEmpty(t *testing.T) {
	t.Parallel()
	if got := parseHex(newBundle(t).report().SigBlocked); got != 0 {
		t.Errorf("blocked signals %x", got)
	}
}

// The container has a session keyring of its own: keys of the caller's must not be reachable.
func TestSessionKeyringIsNew(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	first := b.report().Keyring
	if !strings.Contains(first, b.id) {
		t.Errorf("keyring %q, want one with the container's name", first)
	}
	if r := b.run("--no-new-keyring"); strings.Contains(b.decode(r).Keyring, b.id) {
		t.Error("--no-new-keyring made one")
	}
}

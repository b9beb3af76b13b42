package runtimetest

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/test/runtime/report"
)

const plainUser = 12345 // a user of the host without any right

// rootless makes a bundle that the plain user owns and runs, with the spec that "runc spec --rootless" proposes.
func rootless(t *testing.T, args ...string) *bundle {
	t.Helper()
	needNamespace(t, "user")
	b := newBundle(t, args...)
	if text, err := os.ReadFile("/proc/sys/user/max_user_namespaces"); err == nil && strings.TrimSpace(string(text)) == "0" {
		t.Skip("needs user namespaces for ordinary users")
	}
	// The runtime as installed may lie where only root can reach.
	b.runtime = b.path(filepath.Base(b.runtime))
	reallyCopy(t, programsUnderTest(t).runtime, b.runtime, 0o755)
	b.credential = &syscall.Credential{Uid: plainUser, Gid: plainUser}
	b.env = []string{"XDG_RUNTIME_DIR=" + mustMkdir(t, b.path("xdg")), "HOME=" + b.scratch}
	m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: plainUser, Size: 1}}
	b.Spec.Linux.UIDMappings, b.Spec.Linux.GIDMappings = m, m
	b.namespace(specs.UserNamespace, "").noNamespace(specs.NetworkNamespace).noNamespace(specs.CgroupNamespace)
	b.Spec.Linux.Resources, b.Spec.Linux.CgroupsPath = nil, ""
	b.without("/sys", "/sys/fs/cgroup", "/dev/pts")
	b.mount(
		specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		specs.Mount{Destination: "/sys", Type: "none", Source: "/sys", Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"}},
	)
	b.giveAllTo(plainUser)
	return b
}

// giveAllTo changes the owner of the test's directory, but for the probe, which others share.
func (b *bundle) giveAllTo(id int) {
	b.t.Helper()
	must(b.t, filepath.WalkDir(b.scratch, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.Name() == "probe" {
			return err
		}
		return os.Lchown(p, id, id)
	}))
}

func TestRootlessRunWithoutSubordinateIDs(t *testing.T) {
	t.Parallel()
	b := rootless(t, "report")
	r := b.decode(b.mustRun())
	if r.UID[0] != 0 || r.Pid != 1 || r.Hostname != "probe" {
		t.Errorf("uid %v pid %d hostname %s", r.UID, r.Pid, r.Hostname)
	}
	if f := strings.Fields(r.UIDMap); len(f) != 3 || f[1] != itoa(plainUser) {
		t.Errorf("uid map %q", r.UIDMap)
	}
	if d, ok := deviceAt(r, "/dev/null"); !ok || d.Major != 1 || d.Minor != 3 {
		t.Errorf("/dev/null %+v", d)
	}
	wantCaps(t, r, map[string]uint64{report.Effective: capKill | capNetBind | capAuditWrite})
}

func TestRootlessLifecycle(t *testing.T) {
	t.Parallel()
	b := rootless(t, "sleep", "60")
	b.up()
	if got := b.status(); got != specs.StateRunning {
		t.Errorf("status %s", got)
	}
	if r := b.mustExec("/probe", "echo", "inside"); r.stdout != "inside\n" {
		t.Error(r)
	}
	if r := b.exec("/probe", "exit", "42"); r.code != 42 {
		t.Error(r)
	}
	b.must("kill", b.id, "KILL")
	b.stopped()
	b.must("delete", b.id)
	for _, l := range b.leftovers() {
		t.Errorf("left %s", l)
	}
}

func TestRootlessDefaultStateDirectory(t *testing.T) {
	t.Parallel()
	b := rootless(t, "sleep", "60")
	b.write()
	in := b.invocation()
	in.args = []string{"create", "--bundle", b.dir, b.id}
	in.out, in.err = b.out, b.err
	if r := call(t, in); r.code != 0 {
		t.Fatal(r)
	}
	found, _ := filepath.Glob(b.path("xdg/*/" + b.id))
	deeper, _ := filepath.Glob(b.path("xdg/*/*/" + b.id))
	if len(found)+len(deeper) == 0 {
		t.Errorf("no state below XDG_RUNTIME_DIR")
	}
	in.args, in.out, in.err = []string{"delete", "--force", b.id}, nil, nil
	if r := call(t, in); r.code != 0 {
		t.Error(r)
	}
}

func TestRootlessTerminal(t *testing.T) {
	t.Parallel()
	b := rootless(t, "report")
	b.Spec.Process.Terminal = true
	path, master := consoleSocket(t, b)
	must(t, os.Chmod(path, 0o777))
	b.create("--console-socket", path)
	tr := follow(master())
	b.start()
	tr.ended(t)
	if r := b.decode(result{stdout: tr.String()}); !r.TTY.Terminals[0] || !r.TTY.Controlling {
		t.Errorf("%+v", r.TTY)
	}
}

// Limits need control groups, which this user has none of: an error, not silence.
func TestRootlessLimitsWithoutDelegationAreRefused(t *testing.T) {
	t.Parallel()
	peerLacks(t, "crun goes on without", "crun")
	b := rootless(t, "echo")
	b.Spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(64 * mib))}}
	wantRefusal(t, b.run())
	b.Spec.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(10))}}
	b.Spec.Linux.CgroupsPath = "/" + b.id
	wantRefusal(t, b.run())
}

func TestRootlessBadMappingsAreRefused(t *testing.T) {
	t.Parallel()
	peerLacks(t, "crun 1.8 falls back to one id", "crun")
	for name, m := range map[string]specs.LinuxIDMapping{"another user": {HostID: 0, Size: 1}, "a range": {HostID: plainUser, Size: 100}} {
		b := rootless(t, "echo")
		b.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{m}
		if r := b.run(); r.code == 0 {
			t.Errorf("%s: accepted", name)
		}
	}
	b := rootless(t, "echo")
	b.noNamespace(specs.UserNamespace)
	b.Spec.Linux.UIDMappings, b.Spec.Linux.GIDMappings = nil, nil
	wantRefusal(t, b.run())
}

// With subordinate ids newuidmap writes the maps. The user and the ids exist in a mount namespace only.
func TestRootlessWithSubordinateIDs(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"newuidmap", "newgidmap", "unshare", "setpriv", "sh", "mount"} {
		needProgram(t, p)
	}
	peerLacks(t, "runc 1.1 refuses additional groups here", "runc")
	b := rootless(t, "report")
	m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: plainUser, Size: 1}, {ContainerID: 1, HostID: 700_000, Size: 65536}}
	b.Spec.Linux.UIDMappings, b.Spec.Linux.GIDMappings = m, m
	b.Spec.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{7}}
	b.without("/dev/pts").mount(defaultMounts()[2])
	b.write()
	for _, f := range []string{"passwd", "group"} {
		text, err := os.ReadFile("/etc/" + f)
		must(t, err)
		mustWrite(t, b.path(f), string(text)+"ttplain:x:12345:12345::/:/bin/sh\n")
	}
	mustWrite(t, b.path("group"), "ttplain:x:12345:\n")
	mustWrite(t, b.path("subuid"), "ttplain:700000:65536\n")
	script := `mount --bind $1/passwd /etc/passwd; mount --bind $1/group /etc/group
for f in subuid subgid; do [ -e /etc/$f ] || exit 99; mount --bind $1/subuid /etc/$f; done
shift; exec setpriv --reuid 12345 --regid 12345 --clear-groups "$@"`
	in := b.invocation("run", "--bundle", b.dir, b.id)
	in.args = append([]string{"-m", "sh", "-c", script, "-", b.scratch, in.path}, in.args...)
	in.path, in.credential = needProgram(t, "unshare"), nil
	r := call(t, in)
	if r.code == 99 {
		t.Skip("needs /etc/subuid and /etc/subgid to mount over")
	}
	rep := b.decode(r)
	if rep.UID[0] != 1000 || rep.GID[0] != 1000 || len(rep.Groups) == 0 || !strings.Contains(rep.UIDMap, "700000") {
		t.Errorf("uid %v gid %v groups %v map %q", rep.UID, rep.GID, rep.Groups, rep.UIDMap)
	}
}

// A user to whom root has delegated a control group of version 2 can limit containers below it.
func TestRootlessLimitsInADelegatedCgroup(t *testing.T) {
	t.Parallel()
	needCgroupV2(t)
	needController(t, "pids")
	b := rootless(t, "sleep", "60")
	must(t, os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+pids +memory"), 0))
	own := filepath.Join("/sys/fs/cgroup", b.id+"-user")
	shell := mustMkdir(t, filepath.Join(own, "shell"))
	for _, dir := range []string{own, shell} {
		for _, f := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
			must(t, os.Chown(filepath.Join(dir, f), plainUser, plainUser))
		}
	}
	// The runtime must not sit in the group whose children get controllers.
	var err error
	b.cgroup, err = os.Open(shell)
	must(t, err)
	t.Cleanup(func() {
		b.cli("delete", "--force", b.id)
		b.cgroup.Close()
		b.cgroup = nil
		os.Remove(shell)
		os.Remove(own)
	})
	b.namespace(specs.CgroupNamespace, "")
	b.Spec.Linux.CgroupsPath = "/" + b.id + "-user/container"
	b.Spec.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(30))}, Memory: &specs.LinuxMemory{Limit: ptr(int64(128 * mib))}}
	b.up()
	b.wantFile(t, "", "pids.max", "30")
	b.wantFile(t, "", "memory.max", "134217728")
	if r := b.mustExec("/probe", "echo", "inside"); r.stdout != "inside\n" {
		t.Error(r)
	}
	b.must("pause", b.id)
	b.must("resume", b.id)
	b.must("update", "--pids-limit", "40", b.id)
	b.wantFile(t, "", "pids.max", "40")
	b.must("delete", "--force", b.id)
	if isDir(filepath.Join(own, "container")) {
		t.Error("delete left the group")
	}
}

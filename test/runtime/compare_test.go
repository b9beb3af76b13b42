package runtimetest

import (
	"os"
	"os/exec"
	"reflect"
	"sort"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/test/runtime/report"
)

// needCrun gives crun, without which the comparison has failed: only the test machine of cgroup v2,
// which says so by TARE_TEST_VM, may do without.
func needCrun(t *testing.T) string {
	t.Helper()
	needRoot(t)
	path, err := exec.LookPath("crun")
	if err != nil {
		if os.Getenv("TARE_TEST_VM") != "" {
			t.Skip("needs crun")
		}
		t.Fatal(err)
	}
	return path
}

// asCrun runs the same bundle under crun. Before 1.9 it refuses a hybrid with controllers in its
// cgroup v2 part, so it gets a mount namespace without that part.
func (b *bundle) asCrun(crun string) report.Report {
	b.t.Helper()
	in := b.invocation("run", "--bundle", b.dir, b.id)
	in.path = crun
	if v2 := hierarchies()[""]; !unifiedOnly() && v2 != "" {
		in.args = append([]string{"-m", "sh", "-c", `umount -l "$1"; shift; exec "$@"`, "-", v2, crun}, in.args...)
		in.path = needProgram(b.t, "unshare")
	}
	r := call(b.t, in)
	if r.code != 0 {
		b.t.Fatal(r)
	}
	return b.decode(r)
}

// compareCases are bundles that both must make the same container of.
func compareCases() map[string]func(b *bundle) {
	return map[string]func(b *bundle){
		"default": func(*bundle) {},
		"user": func(b *bundle) {
			b.Spec.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{7}, Umask: ptr(uint32(0o27))}
			b.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 1, Hard: 2}}
			b.Spec.Process.Capabilities.Inheritable = []string{"CAP_KILL"}
			b.Spec.Process.Capabilities.Ambient = []string{"CAP_KILL"}
			b.Spec.Process.OOMScoreAdj = ptr(100)
		},
		"user namespace": func(b *bundle) { b.userNamespace(shiftedRoot, 65536) },
		"seccomp":        func(b *bundle) { b.filter(rule(specs.ActErrno, "getsid")) },
		"mounts": func(b *bundle) {
			b.Spec.Root.Readonly = true
			b.Spec.Linux.RootfsPropagation = "private"
			mustWrite(b.t, b.path("volume/file"), "x")
			b.mount(bindOf(b.path("volume"), "/data", "ro", "nosuid"), bindOf(b.path("volume/file"), "/etc/hosts"),
				specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m", "noexec", "mode=1777"}})
		},
		"privileged": func(b *bundle) {
			b.Spec.Linux.MaskedPaths, b.Spec.Linux.ReadonlyPaths = nil, nil
			b.Spec.Process.NoNewPrivileges = false
			b.without("/sys", "/sys/fs/cgroup").mount(defaultMounts()[5], cgroupMount("rw"))
		},
	}
}

// The same bundle under the runtime and under crun: equal mounts, rights, limits, namespaces and filters.
func TestSameBundleGivesTheSameContainerAsCrun(t *testing.T) {
	t.Parallel()
	crun := needCrun(t)
	for name, prepare := range compareCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t)
			prepare(b)
			ours := b.report()
			theirs := b.asCrun(crun)
			compare(t, "crun's mounts", mountLines(b, ours), mountLines(b, theirs))
			compare(t, "crun's devices", deviceLines(ours), deviceLines(theirs))
			for field, pair := range map[string][2]any{
				"capabilities": {ours.Caps, theirs.Caps}, "limits": {ours.Rlimits, theirs.Rlimits},
				"ids":     {[3]any{ours.UID, ours.GID, ours.Groups}, [3]any{theirs.UID, theirs.GID, theirs.Groups}},
				"seccomp": {ours.Seccomp, theirs.Seccomp}, "no_new_privs": {ours.NoNewPrivs, theirs.NoNewPrivs},
				"umask": {ours.Umask, theirs.Umask}, "cwd": {ours.Cwd, theirs.Cwd}, "oom": {ours.OOMScoreAdj, theirs.OOMScoreAdj},
				"maps": {ours.UIDMap + ours.GIDMap, theirs.UIDMap + theirs.GIDMap}, "hostname": {ours.Hostname, theirs.Hostname},
				"namespaces":  {newNamespaces(t, ours), newNamespaces(t, theirs)},
				"descriptors": {len(ours.FDs), len(theirs.FDs)}, "signals": {ours.SigBlocked, theirs.SigBlocked},
				"ids of process": {[3]int{ours.Pid, ours.Pgrp, ours.Sid}, [3]int{theirs.Pid, theirs.Pgrp, theirs.Sid}},
				"environment":    {sorted(ours.Env), sorted(theirs.Env)}, "interfaces": {ours.Interfaces, theirs.Interfaces},
				"scheduler": {ours.Scheduler, theirs.Scheduler}, "affinity": {ours.Affinity, theirs.Affinity},
			} {
				if !reflect.DeepEqual(pair[0], pair[1]) {
					t.Errorf("%s: %v, crun: %v", field, pair[0], pair[1])
				}
			}
		})
	}
}

func sorted(list []string) []string {
	s := append([]string{}, list...)
	sort.Strings(s)
	return s
}

// newNamespaces says which namespaces are not the host's.
func newNamespaces(t *testing.T, r report.Report) map[string]bool {
	t.Helper()
	m := map[string]bool{}
	for name, target := range r.Namespaces {
		m[name] = target != ownNamespace(t, name)
	}
	return m
}

// mountLines writes mounts so that equal ones have equal lines. Documented differences are left out:
//   - what masks a path, and its flags: a tmpfs or a bind of /dev/null, the runtime's choice;
//   - nosuid, nodev and noexec on a read-only path, which more than the path's own mount may have;
//   - relatime, which the kernel adds to what says nothing about access times;
//   - the cgroup v2 part of a hybrid, which crun is run without here, and the tmpfs that holds the hierarchies;
//   - nosuid and noexec on device nodes bound from the host in a user namespace, which crun adds.
func mountLines(b *bundle, r report.Report) []string {
	masked, readonly := map[string]bool{}, map[string]bool{}
	for _, p := range b.Spec.Linux.MaskedPaths {
		masked[p] = true
	}
	for _, p := range b.Spec.Linux.ReadonlyPaths {
		readonly[p] = true
	}
	var lines []string
	for _, m := range r.Mounts {
		if strings.HasPrefix(m.Point, "/sys/fs/cgroup/unified") || m.Point == "/sys/fs/cgroup" && m.Type == "tmpfs" {
			continue
		}
		if masked[m.Point] {
			lines = append(lines, m.Point+" masked")
			continue
		}
		super := m.Super
		if m.Type == "sysfs" || m.Type == "proc" {
			super = nil // whether the file system itself is read-only, too, depends on how it was mounted
		}
		var options []string
		for _, o := range append(append([]string{}, m.Options...), super...) {
			if readonly[m.Point] && (o == "nosuid" || o == "nodev" || o == "noexec") {
				continue
			}
			if m.Type == "devtmpfs" && (o == "nosuid" || o == "noexec") {
				continue
			}
			if o != "relatime" && !strings.HasPrefix(o, "inode") && !strings.HasPrefix(o, "uid=") && !strings.HasPrefix(o, "gid=") {
				options = append(options, o)
			}
		}
		sort.Strings(options)
		propagation := "private"
		for _, o := range m.Optional {
			propagation, _, _ = strings.Cut(o, ":")
		}
		lines = append(lines, strings.Join([]string{m.Point, m.Type, strings.Join(options, ","), propagation}, " "))
	}
	return sorted(lines)
}

// deviceLines leaves out /dev/core, which crun links to /proc/kcore where there is no such file, too.
func deviceLines(r report.Report) []string {
	var lines []string
	for _, d := range r.Devices {
		if d.Path == "/dev/core" {
			continue
		}
		lines = append(lines, d.Path+" "+d.Type+" "+d.Link)
	}
	return sorted(lines)
}

// compare names the lines that only one side has.
func compare(t *testing.T, what string, ours, theirs []string) {
	t.Helper()
	count := map[string]int{}
	for _, l := range ours {
		count[l]++
	}
	for _, l := range theirs {
		count[l]--
	}
	for l, n := range count {
		if n > 0 {
			t.Errorf("%s: only here: %s", what, l)
		}
		if n < 0 {
			t.Errorf("%s: only there: %s", what, l)
		}
	}
}

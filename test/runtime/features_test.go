package runtimetest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

func featuresOf(t *testing.T) features.Features {
	t.Helper()
	peerLacks(t, "crun 1.8 has no features", "crun")
	r := newBundle(t).must("features")
	var f features.Features
	if err := json.Unmarshal([]byte(r.stdout), &f); err != nil {
		t.Fatalf("%v: %v", err, r)
	}
	return f
}

func TestFeaturesVersionsAreAccepted(t *testing.T) {
	t.Parallel()
	f := featuresOf(t)
	for _, v := range []string{f.OCIVersionMin, f.OCIVersionMax} {
		b := newBundle(t, "echo", "ok")
		b.Spec.Version = v
		if r := b.run(); r.stdout != "ok\n" {
			t.Errorf("version %s: %v", v, r)
		}
	}
	if len(f.Hooks) != 6 {
		t.Errorf("hooks %v", f.Hooks)
	}
}

func TestFeaturesMountOptionsAreKnown(t *testing.T) {
	t.Parallel()
	f := featuresOf(t)
	for _, must := range strings.Fields(`async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec
		noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro rprivate rshared rslave runbindable rw
		shared silent slave strictatime suid sync unbindable`) {
		if !contains(f.MountOptions, must) {
			t.Errorf("the option %s, which the specification demands, is not listed", must)
		}
	}
	peerLacks(t, "gives some to the kernel, which refuses them for a bind mount", "runc")
	b := newBundle(t)
	for _, o := range f.MountOptions {
		if o == "idmap" || o == "ridmap" || o == "remount" || o == "tmpcopyup" {
			continue // they need more than a bind mount; they have tests of their own
		}
		if !kernelIs(t, 5, 12) && recursiveOption(o) {
			continue // mount_setattr(2)
		}
		b.mount(bindOf(mustMkdir(t, b.path("volume", o)), "/m/"+o, o))
	}
	b.report()
}

// recursiveOption is an attribute for a whole tree: "r" and the name of a plain one.
func recursiveOption(o string) bool {
	plain, ok := strings.CutPrefix(o, "r")
	return ok && contains(strings.Fields("ro rw suid nosuid dev nodev exec noexec atime noatime diratime nodiratime relatime norelatime strictatime nostrictatime symfollow nosymfollow"), plain)
}

func TestFeaturesNamespacesWork(t *testing.T) {
	t.Parallel()
	for _, n := range featuresOf(t).Linux.Namespaces {
		if !hasNamespace(t, procName[specs.LinuxNamespaceType(n)]) {
			continue
		}
		b := newBundle(t).namespace(specs.LinuxNamespaceType(n), "")
		if n == "user" {
			b.userNamespace(shiftedRoot, 65536)
		}
		name := procName[specs.LinuxNamespaceType(n)]
		if b.report().Namespaces[name] == ownNamespace(t, name) {
			t.Errorf("%s namespace is not new", n)
		}
	}
}

func TestFeaturesCapabilitiesAreKnown(t *testing.T) {
	t.Parallel()
	f := featuresOf(t)
	for _, c := range capNames {
		if !contains(f.Linux.Capabilities, c) {
			t.Errorf("%s is not listed", c)
		}
	}
	for _, c := range f.Linux.Capabilities {
		if !contains(capNames, c) {
			t.Errorf("%s is unknown to us", c)
		}
	}
}

func TestFeaturesSeccompIsTrue(t *testing.T) {
	t.Parallel()
	s := featuresOf(t).Linux.Seccomp
	peerLacks(t, "runc lists architectures that it cannot have together", "runc")
	for _, op := range s.Operators {
		b := newBundle(t, "echo").filter(rule(specs.ActErrno, "getsid"))
		b.Spec.Linux.Seccomp.Syscalls[0].Args = []specs.LinuxSeccompArg{{Index: 0, Op: specs.LinuxSeccompOperator(op), Value: 1}}
		b.mustRun()
	}
	for _, action := range s.Actions {
		if specs.LinuxSeccompAction(action) != specs.ActNotify {
			newBundle(t, "echo").filter(rule(specs.LinuxSeccompAction(action), "getsid")).mustRun()
		}
	}
	b := newBundle(t, "echo").filter(rule(specs.ActErrno, "getsid"))
	for _, a := range s.Archs {
		b.Spec.Linux.Seccomp.Architectures = append(b.Spec.Linux.Seccomp.Architectures, specs.Arch(a))
	}
	b.mustRun()
	for _, flag := range s.SupportedFlags {
		if flag == string(specs.LinuxSeccompFlagWaitKillableRecv) {
			continue // only with a listener
		}
		b := newBundle(t, "echo").filter(rule(specs.ActErrno, "getsid"))
		b.Spec.Linux.Seccomp.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlag(flag)}
		b.mustRun()
	}
}

// What the features deny must be an error in a configuration, not silence.
func TestWhatFeaturesDenyIsRefused(t *testing.T) {
	t.Parallel()
	f := featuresOf(t)
	peerLacks(t, "older than these", "runc")
	no := func(b *bool) bool { return b == nil || !*b }
	cases := map[string]struct {
		denied bool
		edit   func(s *specs.Spec)
	}{
		"resctrl": {f.Linux.IntelRdt == nil || no(f.Linux.IntelRdt.Enabled), func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "x"} }},
		"selinux": {f.Linux.Selinux == nil || no(f.Linux.Selinux.Enabled) || !isDir("/sys/fs/selinux"), func(s *specs.Spec) { s.Process.SelinuxLabel = "system_u:system_r:x:s0" }},
		"mount label": {f.Linux.Selinux == nil || no(f.Linux.Selinux.Enabled) || !isDir("/sys/fs/selinux"), func(s *specs.Spec) {
			s.Linux.MountLabel = "system_u:object_r:x:s0"
		}},
		"apparmor": {!isDir("/sys/kernel/security/apparmor"), func(s *specs.Spec) { s.Process.ApparmorProfile = "x" }},
	}
	for name, c := range cases {
		if !c.denied {
			continue
		}
		b := newBundle(t, "echo")
		c.edit(b.Spec)
		if r := b.run(); r.code == 0 {
			t.Errorf("%s: accepted", name)
		}
	}
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

func TestAppArmorProfileIsApplied(t *testing.T) {
	t.Parallel()
	if !isDir("/sys/kernel/security/apparmor") {
		t.Skip("needs AppArmor")
	}
	b := newBundle(t)
	b.Spec.Process.ApparmorProfile = "unconfined"
	if r := b.do("read /proc/self/attr/current"); !strings.HasPrefix(r[0].Out, "unconfined") {
		t.Error(r)
	}
	b.Spec.Process.ApparmorProfile = "no-such-profile"
	wantRefusal(t, b.run())
}

func TestSpecWritesABundleThatRuns(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.must("spec", "--bundle", b.dir)
	path := filepath.Join(b.dir, "config.json")
	text, err := os.ReadFile(path)
	must(t, err)
	var s specs.Spec
	must(t, json.Unmarshal(text, &s))
	if !s.Process.Terminal || s.Version == "" || len(s.Linux.Namespaces) < 5 || len(s.Linux.MaskedPaths) == 0 {
		t.Errorf("spec: %s", text)
	}
	b.refused(nil, "spec", "--bundle", b.dir) // it is there already
	s.Process.Terminal, s.Process.Args = false, []string{"/probe", "report"}
	s.Linux.CgroupsPath = b.Spec.Linux.CgroupsPath
	b.Spec = &s
	if r := b.report(); r.Pid != 1 || r.NoNewPrivs != 1 {
		t.Errorf("%+v", r)
	}
}

package runtimetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func cgroupMount(options ...string) specs.Mount {
	return specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: append([]string{"nosuid", "noexec", "nodev", "relatime"}, options...)}
}

func TestCgroupMountV1ShowsEveryHierarchy(t *testing.T) {
	t.Parallel()
	needCgroupV1(t)
	b := newBundle(t)
	r := b.report()
	seen := map[string]bool{}
	for _, m := range r.Mounts {
		if m.Type == "cgroup" {
			seen[filepath.Base(m.Point)] = true
			if m.Root != "/" {
				t.Errorf("%s shows %s: the cgroup namespace should hide where it is", m.Point, m.Root)
			}
			wantOptions(t, r, m.Point, "ro", "nosuid", "noexec", "nodev")
		}
	}
	for name, point := range hierarchies() {
		if name != "" && strings.HasPrefix(point, "/sys/fs/cgroup/") && !seen[filepath.Base(point)] {
			t.Errorf("the hierarchy %s is missing; there are %v", point, seen)
		}
	}
}

func TestCgroupMountV1WritableReachesOwnGroupOnly(t *testing.T) {
	t.Parallel()
	needCgroupV1(t)
	needController(t, "pids")
	b := newBundle(t).without("/sys/fs/cgroup").mount(cgroupMount("rw"))
	r := b.do("write /sys/fs/cgroup/pids/pids.max 77", "mkdir /sys/fs/cgroup/pids/child", "ls /sys/fs/cgroup/pids", "read /proc/self/cgroup")
	wantResults(b, r, "", "", "", "")
	if strings.Contains(r[3].Out, b.id) {
		t.Errorf("the cgroup namespace shows %s", r[3].Out)
	}
}

// Without a cgroup namespace the container's own group is what it sees.
func TestCgroupMountV1OfTheHostNamespaceIsBoundToOwnGroup(t *testing.T) {
	t.Parallel()
	needCgroupV1(t)
	needController(t, "pids")
	b := newBundle(t).noNamespace(specs.CgroupNamespace).without("/sys/fs/cgroup").mount(cgroupMount("ro"))
	b.Spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(77))}
	r := b.do("read /sys/fs/cgroup/pids/pids.max", "write /sys/fs/cgroup/pids/pids.max 78", "read /proc/self/cgroup")
	if r[0].Out != "77" || !strings.Contains(r[1].Err, "read-only") {
		t.Errorf("%v, want its own group, read-only", r)
	}
	if !strings.Contains(r[2].Out, b.id) {
		t.Errorf("/proc/self/cgroup without cgroup namespace: %s", r[2].Out)
	}
}

func TestCgroupMountV2(t *testing.T) {
	t.Parallel()
	needCgroupV2(t)
	b := newBundle(t)
	r := b.report()
	m, ok := mountAt(r, "/sys/fs/cgroup")
	if !ok || m.Type != "cgroup2" || m.Root != "/" {
		t.Errorf("mount %+v", m)
	}
	wantOptions(t, r, "/sys/fs/cgroup", "ro", "nosuid", "noexec", "nodev")
	if strings.TrimSpace(r.Cgroup) != "0::/" {
		t.Errorf("/proc/self/cgroup %q", r.Cgroup)
	}
	b.without("/sys/fs/cgroup").mount(cgroupMount("rw"))
	got := b.do("mkdir /sys/fs/cgroup/child", "ls /sys/fs/cgroup/child", "write /sys/fs/cgroup/child/cgroup.procs 0", "read /proc/self/cgroup")
	wantResults(b, got, "", "", "", "")
}

// With the host's namespace a container sees the hierarchy as the host does: "docker run --cgroupns=host".
func TestCgroupMountV2OfTheHostNamespaceShowsTheHierarchy(t *testing.T) {
	t.Parallel()
	needCgroupV2(t)
	b := newBundle(t).noNamespace(specs.CgroupNamespace)
	b.Spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(77))}
	path := b.Spec.Linux.CgroupsPath
	r := b.do("read /sys/fs/cgroup"+path+"/pids.max", "read /proc/self/cgroup", "write /sys/fs/cgroup"+path+"/pids.max 78")
	if r[0].Out != "77" || strings.TrimSpace(r[1].Out) != "0::"+path || !strings.Contains(r[2].Err, "read-only") {
		t.Errorf("%v", r)
	}
}

// In a user namespace the kernel allows cgroup mounts only with a cgroup namespace of that user.
func TestCgroupMountInUserNamespace(t *testing.T) {
	t.Parallel()
	needNamespace(t, "user")
	b := newBundle(t).userNamespace(shiftedRoot, 65536)
	r := b.do("ls /sys/fs/cgroup")
	if r[0].Err != "" || r[0].Out == "" {
		t.Errorf("%v", r)
	}
}

// A writable cgroup v2 with its own namespace is given to the container's user, and nothing above it.
func TestCgroupV2IsDelegatedToTheContainersUser(t *testing.T) {
	t.Parallel()
	needCgroupV2(t)
	b := newBundle(t, "sleep", "60").userNamespace(shiftedRoot, 65536).without("/sys/fs/cgroup").mount(cgroupMount("rw"))
	b.up()
	for file, want := range map[string]uint32{"": shiftedRoot, "cgroup.procs": shiftedRoot, "cgroup.subtree_control": shiftedRoot, "memory.max": 0, "pids.max": 0} {
		path := filepath.Join(b.cgroupDir(""), file)
		st, err := os.Stat(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := owner(st); got != want {
			t.Errorf("%s belongs to %d, want %d", path, got, want)
		}
	}
	wantResults(b, b.execDo("mkdir /sys/fs/cgroup/child", "write /sys/fs/cgroup/pids.max 5"), "", "permission denied")
}

func TestRelativeCgroupsPathIsConsistentAndRemoved(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60").noNamespace(specs.CgroupNamespace)
	b.Spec.Linux.CgroupsPath = b.id + "/sub"
	b.up()
	text, err := os.ReadFile(filepath.Join("/proc", itoa(b.pid()), "cgroup"))
	must(t, err)
	path := ""
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		f := strings.SplitN(line, ":", 3)
		if strings.Contains(f[2], b.id+"/sub") {
			path = f[2]
		}
	}
	if path == "" {
		t.Fatalf("the path %s is not used: %s", b.Spec.Linux.CgroupsPath, text)
	}
	b.must("delete", "--force", b.id)
	for _, d := range b.cgroupDirs() {
		if strings.HasSuffix(d, "/sub") {
			t.Errorf("delete left %s", d)
		}
		os.Remove(d) // made on the way: a runtime may leave it
	}
}

func TestWithoutCgroupsPathTheRuntimeChooses(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	b.Spec.Linux.CgroupsPath = ""
	b.Spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(77))}
	b.up()
	text, err := os.ReadFile(filepath.Join("/proc", itoa(b.pid()), "cgroup"))
	must(t, err)
	if !strings.Contains(string(text), b.id) {
		t.Errorf("the container's groups do not carry its name: %s", text)
	}
	if len(b.cgroupDirs()) == 0 {
		t.Error("no group carries its name")
	}
	b.destroy()
}

// A group that holds processes of others, or is frozen, would let one container act on another.
func TestOccupiedOrFrozenCgroupIsRefused(t *testing.T) {
	t.Parallel()
	peerLacks(t, "runc 1.1 warns, crun takes it", "runc", "crun")
	first := newBundle(t, "sleep", "60").up()
	second := newBundle(t, "echo")
	second.Spec.Linux.CgroupsPath = first.Spec.Linux.CgroupsPath
	r := second.run()
	wantRefusal(t, r, "cgroup")
	if first.status() != specs.StateRunning {
		t.Error("the refused container ended the first one")
	}
	if len(first.cgroupDirs()) == 0 {
		t.Error("the refused container removed the cgroup of the first one")
	}
	second.Spec.Linux.CgroupsPath = "/" + second.id
	frozen := newBundle(t, "echo")
	freeze(t, frozen.cgroupDir("freezer"))
	wantRefusal(t, frozen.run(), "froz")
	must(t, os.Remove(frozen.cgroupDir("freezer")))
}

// freeze makes a group and freezes it.
func freeze(t *testing.T, dir string) {
	t.Helper()
	mustMkdir(t, dir)
	if unifiedOnly() {
		must(t, os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte("1"), 0))
		return
	}
	must(t, os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("FROZEN"), 0))
}

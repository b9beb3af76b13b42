package runtimetest

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const shiftedRoot = 200_000 // host id of the root of containers with a user namespace

// userNamespace maps size ids from 0 on to hostID, and makes the root file system reachable for them.
func (b *bundle) userNamespace(hostID, size uint32) *bundle {
	b.t.Helper()
	b.namespace(specs.UserNamespace, "")
	m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: hostID, Size: size}}
	b.Spec.Linux.UIDMappings, b.Spec.Linux.GIDMappings = m, m
	b.giveRootTo(int(hostID))
	return b
}

// giveRootTo changes the owner of the root file system's directories and files; the probe is shared with others.
func (b *bundle) giveRootTo(id int) {
	for _, d := range []string{"", "proc", "sys", "dev", "tmp", "etc", "root", "data", "bin", "etc/passwd"} {
		must(b.t, os.Chown(b.inRoot(d), id, id))
	}
}

func TestUserNamespaceMapsIds(t *testing.T) {
	t.Parallel()
	needNamespace(t, "user")
	b := newBundle(t).userNamespace(shiftedRoot, 65536)
	r := b.report()
	if got := strings.Fields(r.UIDMap); len(got) != 3 || got[0] != "0" || got[1] != "200000" || got[2] != "65536" {
		t.Errorf("uid map %q", r.UIDMap)
	}
	if r.UIDMap != r.GIDMap || r.UID[1] != 0 || r.GID[1] != 0 {
		t.Errorf("gid map %q, uid %v, gid %v", r.GIDMap, r.UID, r.GID)
	}
	if r.Namespaces["user"] == ownNamespace(t, "user") {
		t.Error("the user namespace is the host's")
	}
	results := b.do("create /data/file x", "mknod /data/dev c 1 5", "stat /dev/null", "openfd /dev/null", "openfd /dev/zero")
	if results[1].Err == "" {
		t.Error("mknod worked in a user namespace")
	}
	for _, i := range []int{0, 2, 3, 4} {
		if results[i].Err != "" {
			t.Errorf("%s: %s", results[i].Command, results[i].Err)
		}
	}
	var st unix.Stat_t
	must(t, unix.Stat(b.inRoot("data/file"), &st))
	if st.Uid != shiftedRoot {
		t.Errorf("a file made inside belongs to %d outside, want %d", st.Uid, shiftedRoot)
	}
}

func TestUserNamespaceWithSeveralExtents(t *testing.T) {
	t.Parallel()
	needNamespace(t, "user")
	b := newBundle(t).userNamespace(shiftedRoot, 10)
	m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: shiftedRoot, Size: 10}, {ContainerID: 1000, HostID: 300_000, Size: 1}}
	b.Spec.Linux.UIDMappings, b.Spec.Linux.GIDMappings = m, m
	b.Spec.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{5}}
	r := b.report()
	if r.UID[0] != 1000 || r.GID[0] != 1000 || len(r.Groups) == 0 {
		t.Errorf("uid %v gid %v groups %v", r.UID, r.GID, r.Groups)
	}
	if lines := strings.Split(strings.TrimSpace(r.UIDMap), "\n"); len(lines) != 2 {
		t.Errorf("uid map %q", r.UIDMap)
	}
}

func TestUserNamespaceIsJoinedByPath(t *testing.T) {
	t.Parallel()
	needNamespace(t, "user")
	peerLacks(t, "runc 1.1 wants mappings beside a path", "runc")
	b := newBundle(t)
	pid := holder(t, unix.CLONE_NEWUSER, &syscall.SysProcAttr{
		UidMappings: []syscall.SysProcIDMap{{HostID: shiftedRoot, Size: 65536}},
		GidMappings: []syscall.SysProcIDMap{{HostID: shiftedRoot, Size: 65536}}, GidMappingsEnableSetgroups: true,
	})
	b.giveRootTo(shiftedRoot)
	path := fmt.Sprintf("/proc/%d/ns/user", pid)
	want, err := os.Readlink(path)
	must(t, err)
	b.namespace(specs.UserNamespace, path)
	r := b.report()
	if r.Namespaces["user"] != want {
		t.Errorf("user namespace %s, want %s", r.Namespaces["user"], want)
	}
	if f := strings.Fields(r.UIDMap); len(f) != 3 || f[1] != "200000" {
		t.Errorf("uid map %q", r.UIDMap)
	}
}

// Namespaces made together with a user namespace belong to it: its root rules them.
func TestUserNamespaceOwnsTheOthers(t *testing.T) {
	t.Parallel()
	needNamespace(t, "user")
	b := newBundle(t).userNamespace(shiftedRoot, 65536).caps("CAP_SYS_ADMIN", "CAP_NET_ADMIN")
	wantResults(b, b.do("sethostname inside", "mount none /tmp tmpfs size=4k", "umount /tmp"), "", "", "")
}

func TestUserNamespaceSysctlAndTerminalAndMounts(t *testing.T) {
	t.Parallel()
	needNamespace(t, "user")
	b := newBundle(t).userNamespace(shiftedRoot, 65536)
	b.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "80"}
	size, err := os.ReadFile("/proc/sys/kernel/msgmax")
	must(t, err)
	msgmax := strings.TrimSpace(string(size))
	if kernelIs(t, 5, 19) { // before, the machine's root alone could write it
		msgmax = "9000"
		b.Spec.Linux.Sysctl["kernel.msgmax"] = msgmax
	}
	r := b.do("read /proc/sys/net/ipv4/ip_unprivileged_port_start", "read /proc/sys/kernel/msgmax", "stat /dev/pts", "ptsname")
	if r[0].Out != "80" || r[1].Out != msgmax {
		t.Errorf("sysctls: %v, want 80 and %s", r, msgmax)
	}
	if r[3].Err != "" {
		t.Errorf("a new terminal: %v", r[3])
	}
}

func idMaps(host uint32) []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: host, Size: 65536}}
}

// needIDMappedMounts skips where the kernel or the file system of the tests cannot map ids in mounts.
func needIDMappedMounts(t *testing.T) {
	t.Helper()
	needKernel(t, 5, 12)
	peerLacks(t, "runc 1.1 has no id-mapped mounts", "runc")
}

func TestIDMappedMountShowsOtherOwners(t *testing.T) {
	t.Parallel()
	needIDMappedMounts(t)
	b := newBundle(t).userNamespace(shiftedRoot, 65536)
	source := mustMkdir(t, b.path("volume"))
	mustWrite(t, b.path("volume/file"), "x")
	for _, option := range []string{"idmap", "ridmap"} {
		if option == "ridmap" {
			peerLacks(t, "crun 1.8 has no ridmap", "crun")
		}
		m := bindOf(source, "/data", option)
		b.without("/data").mount(m) // no mappings: the container's own
		r := b.do("stat /data/file", "create /data/made-"+option+" x", "stat /data/made-"+option)
		if f := strings.Fields(r[0].Out); len(f) < 4 || f[2] != "0" || f[3] != "0" {
			t.Errorf("%s: file of the host's root is %q inside, want owner 0", option, r[0].Out)
		}
		var st unix.Stat_t
		if err := unix.Stat(b.path("volume/made-"+option), &st); err != nil || st.Uid != 0 {
			t.Errorf("%s: what root made inside belongs to %d outside (%v), want 0", option, st.Uid, err)
		}
	}
}

func TestIDMappedMountWithMappingsOfItsOwn(t *testing.T) {
	t.Parallel()
	needIDMappedMounts(t)
	peerLacks(t, "crun 1.8 reads mount mappings from an option only", "crun")
	b := newBundle(t) // no user namespace
	source := mustMkdir(t, b.path("volume"))
	must(t, os.Chown(mustWrite(t, b.path("volume/file"), "x"), 1234, 1234))
	m := bindOf(source, "/data", "idmap")
	// The id in the file system is the container id, what the mount shows is the host id.
	m.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 1234, HostID: 4321, Size: 1}}
	m.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 1234, HostID: 4322, Size: 1}}
	b.mount(m)
	r := b.do("stat /data/file")
	if f := strings.Fields(r[0].Out); len(f) < 4 || f[2] != "4321" || f[3] != "4322" {
		t.Errorf("owner %q, want 4321 4322", r[0].Out)
	}
}

func TestRecursiveIDMapReachesSubmounts(t *testing.T) {
	t.Parallel()
	needIDMappedMounts(t)
	peerLacks(t, "crun 1.8 reads mount mappings from an option only", "crun")
	b := newBundle(t)
	outer := mustMkdir(t, b.path("volume"))
	inner := mustMkdir(t, b.path("volume/inner"))
	// A bind mount of a directory: before Linux 6.3 tmpfs could not map ids.
	must(t, unix.Mount(mustMkdir(t, b.path("elsewhere")), inner, "", unix.MS_BIND, ""))
	must(t, os.Chown(mustWrite(t, b.path("volume/inner/file"), "x"), 5, 5))
	for option, want := range map[string]string{"idmap": "5", "ridmap": "105"} {
		m := bindOf(outer, "/data", option)
		m.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100, Size: 65536}}
		m.GIDMappings = m.UIDMappings
		b.without("/data").mount(m)
		r := b.do("stat /data/inner/file")
		if f := strings.Fields(r[0].Out); len(f) < 4 || f[2] != want {
			t.Errorf("%s: owner %q (%s), want %s", option, r[0].Out, r[0].Err, want)
		}
	}
}

func TestIDMapWithoutAnyMappingIsRefused(t *testing.T) {
	t.Parallel()
	needIDMappedMounts(t)
	b := newBundle(t, "echo")
	b.mount(bindOf(mustMkdir(t, b.path("volume")), "/data", "idmap"))
	wantRefusal(t, b.run())
	peerLacks(t, "crun 1.8 reads mount mappings from an option only", "crun")
	m := bindOf(b.path("volume"), "/data", "idmap")
	m.UIDMappings = idMaps(5)
	b.without("/data").mount(m) // half a mapping
	wantRefusal(t, b.run())
}

package runtimetest

import (
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestMaskedPathsShowNothing(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	mustWrite(t, b.inRoot("secret/file"), "secret")
	mustWrite(t, b.inRoot("secretfile"), "secret")
	must(t, os.Symlink("/secretfile", b.inRoot("secretlink")))
	b.Spec.Linux.MaskedPaths = append(b.Spec.Linux.MaskedPaths, "/secret", "/secretfile", "/not/there")
	r := b.do("ls /secret", "create /secret/new x", "read /secretfile", "read /secretlink", "write /secretfile x", "read /proc/keys", "read /proc/timer_list", "ls /sys/firmware")
	for _, i := range []int{0, 2, 3, 5, 6, 7} {
		if r[i].Out != "" {
			t.Errorf("%s shows %q", r[i].Command, r[i].Out)
		}
	}
	if r[1].Err == "" {
		t.Error("something could be made in a masked directory")
	}
	if text, _ := os.ReadFile(b.inRoot("secretfile")); string(text) != "secret" {
		t.Errorf("the masked file now holds %q", text)
	}
	if _, err := os.Stat(b.inRoot("not")); err == nil {
		t.Error("masking made a path that was not there")
	}
}

func TestMasksCannotBeLifted(t *testing.T) {
	t.Parallel()
	b := newBundle(t).caps("CAP_SYS_CHROOT", "CAP_DAC_OVERRIDE")
	wantResults(b, b.do("umount /proc/keys", "remount /proc/sys rw", "mount proc /tmp proc ro"), "operation not permitted", "operation not permitted", "not permitted")
}

func TestReadonlyPathsRefuseWrites(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	mustWrite(t, b.inRoot("fixed/file"), "x")
	mustWrite(t, b.inRoot("fixedfile"), "x")
	b.Spec.Linux.ReadonlyPaths = append(b.Spec.Linux.ReadonlyPaths, "/fixed", "/fixedfile", "/not/there")
	r := b.do("write /fixed/file y", "create /fixed/new y", "write /fixedfile y", "read /fixed/file", "write /proc/sys/kernel/msgmax 9000")
	wantResults(b, r, "read-only", "read-only", "read-only", "", "read-only")
}

func TestReadonlyPathKeepsItsMountsFlags(t *testing.T) {
	t.Parallel()
	peerLacks(t, "crun 1.8 drops them", "crun")
	b := newBundle(t)
	b.mount(specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "noexec"}})
	b.Spec.Linux.ReadonlyPaths = []string{"/data"}
	wantOptions(t, b.report(), "/data", "ro", "nosuid", "nodev", "noexec")
}

func TestReadonlyRoot(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Root.Readonly = true
	mustMkdir(t, b.path("volume"))
	b.mount(bindOf(b.path("volume"), "/data"), specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"})
	r := b.do("create /new x", "create /tmp/new x", "create /data/new x", "create /dev/new x", "stat /dev/null", "remount / rw")
	wantResults(b, r, "read-only", "", "", "", "", "operation not permitted")
	if _, err := os.Stat(b.inRoot("new")); err == nil {
		t.Error("written")
	}
	wantResults(b, newBundle(t).do("create /new x"), "")
}

// A read-only file system below must not stop the runtime from starting a container whose mount points exist.
func TestRootOnAReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	peerLacks(t, "crun 1.8 makes it writable", "crun")
	b := newBundle(t)
	must(t, unix.Mount(b.rootfs(), b.rootfs(), "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(b.rootfs(), unix.MNT_DETACH) })
	must(t, unix.Mount("", b.rootfs(), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	r := b.do("create /new x", "create /dev/shm/new x")
	wantResults(b, r, "read-only", "")
	unix.Unmount(b.rootfs(), unix.MNT_DETACH)
}

func TestSysctlsAreSet(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Linux.Sysctl = map[string]string{
		"net.ipv4.ip_forward": "1", "kernel.msgmax": "9001", "net.ipv4.conf.lo.forwarding": "1",
		"fs.mqueue.msg_max": "33", "kernel.shm_rmid_forced": "1", "net/ipv4/ip_default_ttl": "77",
	}
	peerLacks(t, "runc 1.1 knows no slashes", "runc")
	r := b.do("read /proc/sys/net/ipv4/ip_forward", "read /proc/sys/kernel/msgmax", "read /proc/sys/net/ipv4/conf/lo/forwarding",
		"read /proc/sys/fs/mqueue/msg_max", "read /proc/sys/kernel/shm_rmid_forced", "read /proc/sys/net/ipv4/ip_default_ttl")
	for i, want := range []string{"1", "9001", "1", "33", "1", "77"} {
		if r[i].Out != want {
			t.Errorf("%s: %q %s, want %s", r[i].Command, r[i].Out, r[i].Err, want)
		}
	}
	if host, _ := os.ReadFile("/proc/sys/kernel/msgmax"); strings.TrimSpace(string(host)) == "9001" {
		t.Error("the sysctl of the host changed")
	}
}

func TestSysctlOfMissingNameIsNamedInTheError(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo")
	b.Spec.Linux.Sysctl = map[string]string{"net.ipv4.nonsense": "1"}
	wantRefusal(t, b.run(), "nonsense")
}

// uts names may be set by sysctl only with a namespace for them, as Docker does for domainname.
func TestSysctlDomainname(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Linux.Sysctl = map[string]string{"kernel.domainname": "by.sysctl"}
	if got := b.report().Domainname; got != "by.sysctl" {
		t.Errorf("domainname %q", got)
	}
}

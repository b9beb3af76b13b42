package runtimetest

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

func owner(st os.FileInfo) uint32 { return st.Sys().(*syscall.Stat_t).Uid }

func TestDefaultDevicesAndLinks(t *testing.T) {
	t.Parallel()
	r := newBundle(t).report()
	for path, minor := range map[string]uint32{"/dev/null": 3, "/dev/zero": 5, "/dev/full": 7, "/dev/random": 8, "/dev/urandom": 9} {
		d, ok := deviceAt(r, path)
		if !ok || d.Type != "c" || d.Major != 1 || d.Minor != minor || d.Mode != 0o666 || d.UID != 0 || d.GID != 0 {
			t.Errorf("%s is %+v", path, d)
		}
	}
	if d, ok := deviceAt(r, "/dev/tty"); !ok || d.Major != 5 || d.Minor != 0 || d.Mode != 0o666 {
		t.Errorf("/dev/tty is %+v", d)
	}
	for path, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	} {
		if d, _ := deviceAt(r, path); d.Link != target {
			t.Errorf("%s leads to %q, want %q", path, d.Link, target)
		}
	}
	if d, ok := deviceAt(r, "/dev/ptmx"); !ok || d.Link != "pts/ptmx" && d.Link != "/dev/pts/ptmx" && d.Type != "c" {
		t.Errorf("/dev/ptmx is %+v", d)
	}
	if d, ok := deviceAt(r, "/dev/console"); ok {
		t.Errorf("/dev/console without a terminal: %+v", d)
	}
	for _, d := range r.Devices {
		if d.Type == "b" {
			t.Errorf("block device %+v", d)
		}
	}
}

func TestDefaultDevicesWork(t *testing.T) {
	t.Parallel()
	r := newBundle(t).do("write /dev/null x", "openfd /dev/zero", "write /dev/full x", "openfd /dev/random", "openfd /dev/urandom", "openfd /dev/tty", "ptsname", "mknod /tmp/sda b 8 0")
	want := []string{"", "", "no space left", "", "", "no such device or address", "", "operation not permitted"}
	for i, w := range want {
		if w == "" && r[i].Err != "" || !strings.Contains(r[i].Err, w) {
			t.Errorf("%s: %q, want %q", r[i].Command, r[i].Err, w)
		}
	}
	if r[6].Out != "/dev/pts/0" {
		t.Errorf("the first terminal of the container is %q", r[6].Out)
	}
}

func TestListedDevicesAreMade(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	mode := os.FileMode(0o640)
	b.Spec.Linux.Devices = []specs.LinuxDevice{
		{Path: "/dev/mine", Type: "c", Major: 1, Minor: 3, FileMode: &mode, UID: ptr(uint32(12)), GID: ptr(uint32(34))},
		{Path: "/dev/sub/disk", Type: "b", Major: 7, Minor: 99, FileMode: ptr(os.FileMode(0o600))},
		{Path: "/dev/pipe", Type: "p", FileMode: ptr(os.FileMode(0o666))},
		{Path: "/dev/unbuffered", Type: "u", Major: 1, Minor: 5, FileMode: ptr(os.FileMode(0o666))},
		{Path: "/outside", Type: "c", Major: 1, Minor: 7, FileMode: ptr(os.FileMode(0o644))},
	}
	r := b.do("stat /dev/mine", "stat /dev/sub/disk", "stat /dev/pipe", "stat /dev/unbuffered", "stat /outside")
	for i, want := range []string{"c 640 12 34 0 1:3", "b 600 0 0 0 7:99", "p 666 0 0 0 0:0", "c 666 0 0 0 1:5", "c 644 0 0 0 1:7"} {
		if r[i].Out != want {
			t.Errorf("%s: %q %s, want %q", r[i].Command, r[i].Out, r[i].Err, want)
		}
	}
	os.Remove(b.inRoot("outside"))
}

// The umask of the caller must not take bits from what the configuration asks for.
func TestDeviceModesDoNotDependOnUmask(t *testing.T) {
	b := newBundle(t)
	b.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/mine", Type: "c", Major: 1, Minor: 3, FileMode: ptr(os.FileMode(0o666))}}
	old := unix.Umask(0o077) // not parallel: it is the process's
	defer unix.Umask(old)
	r := b.report()
	for _, path := range []string{"/dev/mine", "/dev/null", "/dev/tty"} {
		if d, _ := deviceAt(r, path); d.Mode != 0o666 {
			t.Errorf("%s has mode %o", path, d.Mode)
		}
	}
}

func TestMissingModeOfADeviceIsReadableByAll(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/mine", Type: "c", Major: 1, Minor: 3}}
	peerLacks(t, "runc 1.1 makes it mode 0, crun 755", "runc", "crun")
	if d, _ := deviceAt(b.report(), "/dev/mine"); d.Mode != 0o666 {
		t.Errorf("mode %o, want 666 as for the default devices", d.Mode)
	}
}

func TestDefaultDeviceMayBeListedWithOtherMode(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/zero", Type: "c", Major: 1, Minor: 5, FileMode: ptr(os.FileMode(0o600))}}
	peerLacks(t, "the default device wins or loses", "runc", "crun")
	if d, _ := deviceAt(b.report(), "/dev/zero"); d.Mode != 0o600 || d.Minor != 5 {
		t.Errorf("%+v", d)
	}
}

func TestExistingMatchingDeviceIsKept(t *testing.T) {
	t.Parallel()
	b := newBundle(t).without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
	must(t, unix.Mknod(b.inRoot("dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	wantResults(b, b.do("write /dev/null x", "openfd /dev/zero"), "", "")
}

func TestDevicesInUserNamespaceAreBound(t *testing.T) {
	t.Parallel()
	needNamespace(t, "user")
	b := newBundle(t).userNamespace(shiftedRoot, 65536)
	b.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229, FileMode: ptr(os.FileMode(0o666))}}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("needs /dev/fuse")
	}
	r := b.do("stat /dev/fuse", "write /dev/null x")
	if !strings.HasSuffix(r[0].Out, "10:229") || r[1].Err != "" {
		t.Errorf("%v", r)
	}
}

// allow gives access to a device or, with major -1, to all of its kind.
func allow(kind string, major, minor int64, access string, yes bool) specs.LinuxDeviceCgroup {
	d := specs.LinuxDeviceCgroup{Allow: yes, Type: kind, Access: access}
	if major >= 0 {
		d.Major = &major
	}
	if minor >= 0 {
		d.Minor = &minor
	}
	return d
}

// deviceNodes has nodes of the root file system ready, so that only the control group decides.
func deviceNodes(b *bundle) {
	for name, d := range map[string][2]uint32{"zero": {1, 5}, "full": {1, 7}, "kmsg": {1, 11}, "disk": {60, 5}} {
		kind := uint32(unix.S_IFCHR)
		if name == "disk" {
			kind = unix.S_IFBLK
		}
		must(b.t, unix.Mknod(b.inRoot(name), kind|0o666, int(unix.Mkdev(d[0], d[1]))))
	}
}

func TestDeviceRulesDenyAndAllowInOrder(t *testing.T) {
	t.Parallel()
	const denied, missing = "operation not permitted", "no such device"
	deny := allow("", -1, -1, "rwm", false)
	cases := []struct {
		name  string
		rules []specs.LinuxDeviceCgroup
		want  [3]string // read kmsg, read a disk that is not there, write kmsg
	}{
		{"deny all", []specs.LinuxDeviceCgroup{deny}, [3]string{denied, denied, denied}},
		{"allow all", []specs.LinuxDeviceCgroup{allow("a", -1, -1, "rwm", true)}, [3]string{"", missing, ""}},
		{"allow reading", []specs.LinuxDeviceCgroup{deny, allow("c", 1, 11, "r", true)}, [3]string{"", denied, denied}},
		{"allow making", []specs.LinuxDeviceCgroup{deny, allow("c", 1, 11, "m", true)}, [3]string{denied, denied, denied}},
		{"allow a kind", []specs.LinuxDeviceCgroup{deny, allow("b", -1, -1, "rwm", true)}, [3]string{denied, missing, denied}},
		{"allow a major", []specs.LinuxDeviceCgroup{deny, allow("c", 1, -1, "rw", true)}, [3]string{"", denied, ""}},
		{"later wins", []specs.LinuxDeviceCgroup{deny, allow("c", 1, 11, "rwm", true), allow("c", 1, 11, "w", false)}, [3]string{"", denied, denied}},
		{"deny again", []specs.LinuxDeviceCgroup{deny, allow("c", 1, 11, "rwm", true), deny}, [3]string{denied, denied, denied}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.name == "deny again" || c.name == "later wins" {
				peerLacks(t, "crun 1.8 does not", "crun")
			}
			b := newBundle(t).caps("CAP_MKNOD", "CAP_SYSLOG", "CAP_SYS_ADMIN")
			deviceNodes(b)
			b.Spec.Linux.Resources.Devices = c.rules
			r := b.do("openfd /kmsg", "openfd /disk", "write /kmsg tare-test")
			for i, want := range c.want {
				if want == "" && r[i].Err != "" || !strings.Contains(r[i].Err, want) {
					t.Errorf("%s: %q, want %q", r[i].Command, r[i].Err, want)
				}
			}
		})
	}
}

// Whatever the rules say, the default devices stay usable: the specification promises them.
func TestDefaultDevicesStayAllowed(t *testing.T) {
	t.Parallel()
	b := newBundle(t).caps("CAP_MKNOD")
	b.Spec.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{allow("", -1, -1, "rwm", false)}
	r := b.do("write /dev/null x", "openfd /dev/zero", "openfd /dev/urandom", "ptsname")
	wantResults(b, r, "", "", "", "")
}

// Without resources, some engines rely on no device being restricted, others on the runtime's default;
// either way the listed devices must work.
func TestListedDeviceIsUsableWithARule(t *testing.T) {
	t.Parallel()
	b := newBundle(t).caps("CAP_SYSLOG")
	b.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/kmsg", Type: "c", Major: 1, Minor: 11, FileMode: ptr(os.FileMode(0o660))}}
	b.Spec.Linux.Resources.Devices = append(b.Spec.Linux.Resources.Devices, allow("c", 1, 11, "rw", true))
	wantResults(b, b.do("openfd /dev/kmsg"), "")
}

package runtimetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/test/runtime/report"
)

// wantOptions fails where the mount at a point lacks an option, or has one written with "!".
func wantOptions(t *testing.T, r report.Report, point string, options ...string) {
	t.Helper()
	m, ok := mountAt(r, point)
	if !ok {
		t.Errorf("no mount at %s", point)
		return
	}
	for _, o := range options {
		name, not := strings.CutPrefix(o, "!")
		if (contains(m.Options, name) || contains(m.Super, name)) == not {
			t.Errorf("%s has %v and %v, want %s", point, m.Options, m.Super, o)
		}
	}
}

func TestDefaultMountsAreThere(t *testing.T) {
	t.Parallel()
	r := newBundle(t).report()
	for point, kind := range map[string]string{
		"/proc": "proc", "/dev": "tmpfs", "/dev/pts": "devpts", "/dev/shm": "tmpfs", "/dev/mqueue": "mqueue", "/sys": "sysfs",
	} {
		if m, ok := mountAt(r, point); !ok || m.Type != kind {
			t.Errorf("at %s: %+v, want %s", point, m, kind)
		}
	}
	wantOptions(t, r, "/dev", "nosuid", "mode=755", "size=65536k", "!ro", "!noexec")
	wantOptions(t, r, "/dev/shm", "nosuid", "nodev", "noexec", "size=65536k")
	wantOptions(t, r, "/dev/pts", "nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666")
	wantOptions(t, r, "/sys", "ro", "nosuid", "nodev", "noexec")
	for _, m := range r.Mounts {
		if strings.Contains(m.Root, "taretest") || strings.HasPrefix(m.Point, "/tmp/tare") {
			t.Errorf("a mount of the host is left: %+v", m)
		}
	}
}

// The old root and all that was mounted below it must be gone.
func TestNoMountOfTheHostIsLeft(t *testing.T) {
	t.Parallel()
	r := newBundle(t).report()
	known := map[string]bool{}
	for _, m := range defaultMounts() {
		known[m.Destination] = true
	}
	for _, m := range r.Mounts {
		if m.Point == "/" || known[m.Point] {
			continue
		}
		if !strings.HasPrefix(m.Point, "/proc/") && !strings.HasPrefix(m.Point, "/sys/") && !strings.HasPrefix(m.Point, "/dev/") {
			t.Errorf("unexpected mount %+v", m)
		}
	}
}

func TestBindMountOptions(t *testing.T) {
	t.Parallel()
	cases := []struct {
		options []string
		want    []string
	}{
		{nil, []string{"rw", "!nosuid", "!nodev", "!noexec", "!ro"}},
		{[]string{"ro"}, []string{"ro", "!nosuid"}},
		{[]string{"rw", "nosuid", "nodev", "noexec"}, []string{"rw", "nosuid", "nodev", "noexec"}},
		{[]string{"ro", "rw"}, []string{"rw"}},
		{[]string{"nosuid", "suid", "noexec", "exec", "nodev", "dev"}, []string{"!nosuid", "!noexec", "!nodev"}},
		{[]string{"noatime"}, []string{"noatime", "!relatime"}},
		{[]string{"strictatime"}, []string{"!noatime", "!relatime"}},
		{[]string{"nodiratime"}, []string{"nodiratime"}},
		{[]string{"relatime"}, []string{"relatime"}},
		{[]string{"defaults"}, []string{"rw"}},
		{[]string{"nosymfollow"}, []string{"nosymfollow"}},
		{[]string{"silent", "loud", "async", "sync", "dirsync", "atime", "diratime", "norelatime", "nostrictatime", "iversion", "noiversion", "lazytime", "nolazytime", "mand", "nomand"}, nil},
	}
	for _, c := range cases {
		t.Run(strings.Join(c.options, ","), func(t *testing.T) {
			t.Parallel()
			if contains(c.options, "nosymfollow") {
				needKernel(t, 5, 10)
				peerLacks(t, "has no nosymfollow", "runc", "crun")
			}
			if contains(c.options, "silent") {
				peerLacks(t, "gives some of these to the kernel, which refuses them for a bind mount", "runc", "crun")
			}
			if contains(c.options, "suid") {
				peerLacks(t, "crun 1.8 does not undo an option", "crun")
			}
			b := newBundle(t)
			mustWrite(t, b.path("volume/file"), "content")
			b.mount(bindOf(b.path("volume"), "/data", c.options...))
			b.Spec.Process.Args = doArgs([]string{"read /data/file", "report"})
			r := b.results(b.mustRun().stdout)
			if r[0].Out != "content" {
				t.Errorf("not mounted: %v", r[0])
			}
			wantOptions(t, b.decode(result{stdout: r[1].Out}), "/data", c.want...)
		})
	}
}

func TestRemountChangesTheMountThatIsThere(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.mount(
		specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m"}},
		specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs", Options: []string{"remount", "ro", "size=2m"}},
	)
	r := b.report()
	wantOptions(t, r, "/data", "ro", "size=2048k")
	n := 0
	for _, m := range r.Mounts {
		if m.Point == "/data" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d mounts at /data", n)
	}
}

func TestReadOnlyBindRefusesWrites(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	mustWrite(t, b.path("volume/file"), "x")
	b.mount(bindOf(b.path("volume"), "/data", "ro"))
	wantResults(b, b.do("write /data/file y", "create /data/new y", "read /data/file"), "read-only", "read-only", "")
}

// In a user namespace nosuid, nodev and noexec of the host are locked: remounting read-only must keep them.
func TestReadOnlyBindOfALockedMountWorksInUserNamespace(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	source := mustMkdir(t, b.path("volume"))
	must(t, unix.Mount("none", source, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
	peerLacks(t, "runc 1.1 fails", "runc")
	b.mount(bindOf(source, "/data", "ro"))
	b.userNamespace(shiftedRoot, 65536)
	wantOptions(t, b.report(), "/data", "ro")
}

func TestBindIsRecursiveOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	inner := mustMkdir(t, b.path("volume/inner"))
	must(t, unix.Mount("none", inner, "tmpfs", 0, ""))
	mustWrite(t, filepath.Join(inner, "file"), "x")
	b.mount(
		specs.Mount{Destination: "/one", Source: b.path("volume"), Options: []string{"bind"}},
		specs.Mount{Destination: "/all", Source: b.path("volume"), Options: []string{"rbind"}},
	)
	wantResults(b, b.do("exists /one/inner/file", "exists /all/inner/file"), "no such file", "")
}

func TestRecursiveAttributesReachSubmounts(t *testing.T) {
	t.Parallel()
	needKernel(t, 5, 12)
	cases := []struct {
		option string
		want   []string
		outer  uintptr // flags of the source's mounts
	}{
		{"rro", []string{"ro"}, 0},
		{"rnosuid", []string{"nosuid"}, 0},
		{"rnodev", []string{"nodev"}, 0},
		{"rnoexec", []string{"noexec"}, 0},
		{"rnoatime", []string{"noatime"}, 0},
		{"rnodiratime", []string{"nodiratime"}, 0},
		{"rstrictatime", []string{"!relatime", "!noatime"}, 0},
		{"rrelatime", []string{"relatime"}, unix.MS_NOATIME},
		{"rnosymfollow", []string{"nosymfollow"}, 0},
		{"rrw", []string{"rw"}, unix.MS_RDONLY},
		{"rsuid", []string{"!nosuid"}, unix.MS_NOSUID},
		{"rdev", []string{"!nodev"}, unix.MS_NODEV},
		{"rexec", []string{"!noexec"}, unix.MS_NOEXEC},
		{"rdiratime", []string{"!nodiratime"}, unix.MS_NODIRATIME},
		{"ratime", []string{"!noatime"}, unix.MS_NOATIME},
	}
	b := newBundle(t)
	for _, c := range cases {
		source := mustMkdir(t, b.path("volume-"+c.option))
		must(t, unix.Mount("none", source, "tmpfs", 0, ""))
		inner := mustMkdir(t, filepath.Join(source, "inner"))
		must(t, unix.Mount("none", inner, "tmpfs", 0, ""))
		for _, m := range []string{source, inner} {
			must(t, unix.Mount("", m, "", unix.MS_REMOUNT|unix.MS_BIND|c.outer, ""))
		}
		b.mount(bindOf(source, "/m/"+c.option, c.option))
	}
	peerLacks(t, "runc 1.1 has none, crun 1.8 fails for rnoatime", "runc", "crun")
	r := b.report()
	for _, c := range cases {
		wantOptions(t, r, "/m/"+c.option, c.want...)
		wantOptions(t, r, "/m/"+c.option+"/inner", c.want...)
	}
}

// Plain "ro" is not recursive: the specification has rro for that.
func TestPlainReadOnlyIsNotRecursive(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	inner := mustMkdir(t, b.path("volume/inner"))
	must(t, unix.Mount("none", inner, "tmpfs", 0, ""))
	b.mount(bindOf(b.path("volume"), "/data", "ro"))
	wantResults(b, b.do("create /data/x y", "create /data/inner/x y"), "read-only", "")
}

func TestPropagationOfMounts(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	// A peer group of our own: the host's root is private here, and must stay as it is.
	shared := mustMkdir(t, b.path("shared"))
	must(t, unix.Mount("none", shared, "tmpfs", 0, ""))
	must(t, unix.Mount("", shared, "", unix.MS_SHARED, ""))
	b.Spec.Linux.RootfsPropagation = "rshared"
	peerLacks(t, "crun 1.8 applies only some of them", "crun")
	want := map[string]string{
		"shared": "shared", "rshared": "shared", "slave": "master", "rslave": "master",
		"private": "", "rprivate": "", "unbindable": "unbindable", "runbindable": "unbindable",
	}
	for option := range want {
		b.mount(bindOf(shared, "/m/"+option, option))
	}
	r := b.report()
	for option, prefix := range want {
		m, ok := mountAt(r, "/m/"+option)
		got := strings.Join(m.Optional, " ")
		if !ok || prefix == "" && got != "" || !strings.HasPrefix(got, prefix) {
			t.Errorf("%s: %q, want %q", option, got, prefix)
		}
	}
}

// Mounts made on the host later arrive in a slave, those made inside do not come back.
func TestSlaveMountReceivesButDoesNotSend(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60").caps("CAP_SYS_ADMIN")
	shared := mustMkdir(t, b.path("shared"))
	must(t, unix.Mount("none", shared, "tmpfs", 0, ""))
	must(t, unix.Mount("", shared, "", unix.MS_SHARED, ""))
	mustMkdir(t, filepath.Join(shared, "host"))
	mustMkdir(t, filepath.Join(shared, "inside"))
	b.mount(bindOf(shared, "/data", "rslave"))
	b.Spec.Linux.RootfsPropagation = "rslave"
	b.up()
	must(t, unix.Mount("none", filepath.Join(shared, "host"), "tmpfs", 0, ""))
	mustWrite(t, filepath.Join(shared, "host/file"), "x")
	r := b.execDo("exists /data/host/file", "mount none /data/inside tmpfs size=4k", "create /data/inside/file x")
	wantResults(b, r, "", "", "")
	if _, err := os.Stat(filepath.Join(shared, "inside/file")); err == nil {
		t.Error("a mount made inside reached the host")
	}
}

func TestSharedMountSendsToTheHost(t *testing.T) {
	t.Parallel()
	b := newBundle(t).caps("CAP_SYS_ADMIN")
	shared := mustMkdir(t, b.path("shared"))
	must(t, unix.Mount("none", shared, "tmpfs", 0, ""))
	must(t, unix.Mount("", shared, "", unix.MS_SHARED, ""))
	mustMkdir(t, filepath.Join(shared, "inside"))
	b.mount(bindOf(shared, "/data", "rshared"))
	b.Spec.Linux.RootfsPropagation = "rshared" // as engines say when any mount is shared
	wantResults(b, b.do("mount none /data/inside tmpfs size=4k", "create /data/inside/file x"), "", "")
	if _, err := os.Stat(filepath.Join(shared, "inside/file")); err != nil {
		t.Errorf("a mount made inside did not reach the host: %v", err)
	}
}

func TestRootfsPropagation(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"": "", "private": "", "rprivate": "", "slave": "master", "rslave": "master", "shared": "shared", "rshared": "shared", "unbindable": "unbindable"} {
		t.Run("root "+given, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t)
			switch given {
			case "unbindable", "shared", "rshared":
				peerLacks(t, "runc 1.1 leaves it private", "runc")
			case "slave", "rslave":
				peerLacks(t, "make it private, runc 1.1 for slave", "runc", "crun")
				// The root of a slave can only have a master where the host's is shared.
				must(t, unix.Mount("none", mustMkdir(t, b.path("outer")), "tmpfs", 0, ""))
				must(t, unix.Mount("", b.path("outer"), "", unix.MS_SHARED, ""))
				root := mustMkdir(t, b.path("outer/rootfs"))
				makeRootfs(t, root, programsUnderTest(t).probe)
				b.Spec.Root.Path = root
			}
			b.Spec.Linux.RootfsPropagation = given
			r := b.report()
			m, _ := mountAt(r, "/")
			if got := strings.Join(m.Optional, " "); want == "" && got != "" || !strings.HasPrefix(got, want) {
				t.Errorf("root is %q, want %q", got, want)
			}
		})
	}
}

func TestTmpfsOptionsReachTheFileSystem(t *testing.T) {
	t.Parallel()
	peerLacks(t, "runc 1.1 takes the mode from the directory below", "runc")
	b := newBundle(t)
	b.mount(specs.Mount{Destination: "/data", Type: "tmpfs", Source: "mytmp", Options: []string{"size=1m", "mode=1757", "uid=5", "gid=6", "nr_inodes=20", "nosuid", "nodev", "noexec", "noatime"}})
	b.Spec.Process.Args = doArgs([]string{"stat /data", "fill /data/file", "report"})
	r := b.results(b.mustRun().stdout)
	if f := strings.Fields(r[0].Out); len(f) < 4 || f[1] != "1757" || f[2] != "5" || f[3] != "6" {
		t.Errorf("/data is %q", r[0].Out)
	}
	if r[1].Out != "1024" {
		t.Errorf("%s KiB fit in, want 1024: %s", r[1].Out, r[1].Err)
	}
	rep := b.decode(result{stdout: r[2].Out})
	wantOptions(t, rep, "/data", "nosuid", "nodev", "noexec", "noatime", "nr_inodes=20")
	if m, _ := mountAt(rep, "/data"); m.Source != "mytmp" || m.Type != "tmpfs" {
		t.Errorf("mounted %+v", m)
	}
}

func TestUnknownFileSystemOptionIsTheKernelsToRefuse(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo")
	b.mount(specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs", Options: []string{"nonsense=1"}})
	wantRefusal(t, b.run(), "data")
}

func TestTmpcopyupKeepsWhatWasBelow(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	peerLacks(t, "crun 1.8 forgets the mode", "crun")
	needKernel(t, 5, 2) // a tmpfs that is filled before it is mounted
	mustWrite(t, b.inRoot("data/sub/file"), "below")
	must(t, os.Chmod(b.inRoot("data"), 0o710))
	must(t, os.Symlink("sub/file", b.inRoot("data/link")))
	must(t, os.Chown(b.inRoot("data/sub/file"), 12, 34))
	b.mount(specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup", "nosuid"}})
	r := b.do("read /data/sub/file", "stat /data", "readlink /data/link", "stat /data/sub/file", "create /data/new x")
	wantResults(b, r, "", "", "", "", "")
	if r[0].Out != "below" || r[2].Out != "sub/file" || !strings.HasPrefix(r[3].Out, "- 644 12 34") {
		t.Errorf("copied %v", r)
	}
	if !strings.HasPrefix(r[1].Out, "d 710") {
		t.Errorf("mode of the directory: %q", r[1].Out)
	}
	if _, err := os.Stat(b.inRoot("data/new")); err == nil {
		t.Error("written through to the root file system")
	}
}

func TestOtherFileSystems(t *testing.T) {
	t.Parallel()
	b := newBundle(t).without("/dev/mqueue")
	b.mount(
		specs.Mount{Destination: "/a/mqueue", Type: "mqueue", Source: "mqueue"},
		specs.Mount{Destination: "/a/ramfs", Type: "ramfs", Source: "ramfs"},
	)
	r := b.report()
	for point, kind := range map[string]string{"/a/mqueue": "mqueue", "/a/ramfs": "ramfs"} {
		if m, ok := mountAt(r, point); !ok || m.Type != kind {
			t.Errorf("at %s: %+v", point, m)
		}
	}
}

func TestOverlayMount(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	mustWrite(t, b.path("lower/file"), "lower")
	for _, d := range []string{"upper", "work"} {
		mustMkdir(t, b.path(d))
	}
	b.mount(specs.Mount{Destination: "/data", Type: "overlay", Source: "overlay", Options: []string{
		"lowerdir=" + b.path("lower"), "upperdir=" + b.path("upper"), "workdir=" + b.path("work"),
	}})
	r := b.run()
	if strings.Contains(r.stderr, "no such device") {
		t.Skip("needs overlayfs")
	}
	wantResults(b, b.do("read /data/file", "create /data/new x"), "", "")
	if _, err := os.Stat(b.path("upper/new")); err != nil {
		t.Error(err)
	}
}

func TestMountsAreMadeInTheOrderGiven(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.mount(
		specs.Mount{Destination: "/data", Type: "tmpfs", Source: "first"},
		specs.Mount{Destination: "/data/inner", Type: "tmpfs", Source: "second"},
		specs.Mount{Destination: "/data", Type: "tmpfs", Source: "third"},
	)
	r := b.report()
	if m, _ := mountAt(r, "/data"); m.Source != "third" {
		t.Errorf("on top of /data is %q", m.Source)
	}
	if got := b.do("ls /data"); got[0].Out != "" {
		t.Errorf("/data holds %q, want the empty third mount", got[0].Out)
	}
}

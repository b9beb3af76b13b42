package runtimetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestBindOfAFile(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	mustWrite(t, b.path("volume/file"), "content")
	b.mount(bindOf(b.path("volume/file"), "/etc/passwd"), bindOf(b.path("volume/file"), "/made/for/it"))
	r := b.do("read /etc/passwd", "read /made/for/it", "write /etc/passwd changed")
	if r[0].Out != "content" || r[1].Out != "content" || r[2].Err != "" {
		t.Error(r)
	}
	if text, _ := os.ReadFile(b.path("volume/file")); !strings.HasPrefix(string(text), "changed") {
		t.Errorf("the host's file holds %q", text)
	}
}

func TestMissingMountPointsAreMade(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	mustWrite(t, b.path("file"), "x")
	mustMkdir(t, b.path("dir"))
	b.mount(
		bindOf(b.path("file"), "/new/a/file"), bindOf(b.path("dir"), "/new/b/dir"),
		specs.Mount{Destination: "/new/c", Type: "tmpfs", Source: "tmpfs"},
		specs.Mount{Destination: "/dev/below/dev", Type: "tmpfs", Source: "tmpfs"},
	)
	wantResults(b, b.do("stat /new/a/file", "ls /new/b/dir", "create /new/c/x y", "create /dev/below/dev/x y"), "", "", "", "")
	st, err := os.Stat(b.inRoot("new/a"))
	if err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("made %v, %v, want mode 755", st, err)
	}
}

// A link in the image is followed below the container's root, wherever it points.
func TestLinksInDestinationsStayInTheRoot(t *testing.T) {
	t.Parallel()
	outside := []struct{ name, target string }{
		{"absolute", "/target"},
		{"relative", "target"},
		{"upwards", "../../../../../../target"},
		{"chain", "absolute"},
		{"missing", "/not/there/yet"},
		{"dotdot", "/data/../target"},
	}
	for _, c := range outside {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t)
			mustWrite(t, b.path("volume/file"), "content")
			mustMkdir(t, b.inRoot("target"))
			if c.name == "chain" {
				must(t, os.Symlink("/target", b.inRoot("absolute")))
			}
			if c.name == "missing" {
				peerLacks(t, "refuses a link to nothing", "crun")
			}
			must(t, os.Symlink(c.target, b.inRoot("link")))
			b.mount(bindOf(b.path("volume"), "/link/sub"))
			want := "/target/sub/file"
			if c.name == "missing" {
				want = "/not/there/yet/sub/file"
			}
			wantResults(b, b.do("read /link/sub/file", "read "+want), "", "")
		})
	}
}

func TestLinkAsDestinationItself(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	host := mustMkdir(t, b.path("host"))
	mustWrite(t, b.path("volume/file"), "content")
	must(t, os.Symlink(host, b.inRoot("link"))) // absolute: would leave the root
	b.mount(specs.Mount{Destination: "/link", Type: "tmpfs", Source: "tmpfs"})
	r := b.run()
	if r.code == 0 {
		got := b.do("create /link/x y")
		wantResults(b, got, "")
	}
	if entries, _ := os.ReadDir(host); len(entries) > 0 {
		t.Errorf("it mounted on or wrote to the host's directory: %v", entries)
	}
}

func TestRelativeDestinationIsBelowTheRoot(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.mount(specs.Mount{Destination: "data/sub", Type: "tmpfs", Source: "mine"}, specs.Mount{Destination: "../../up", Type: "tmpfs", Source: "up"})
	peerLacks(t, "crun 1.8 refuses to leave the root", "crun")
	r := b.report()
	for point, source := range map[string]string{"/data/sub": "mine", "/up": "up"} {
		if m, ok := mountAt(r, point); !ok || m.Source != source {
			t.Errorf("at %s: %+v", point, m)
		}
	}
}

func TestRelativeBindSourceIsBelowTheBundle(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	mustWrite(t, filepath.Join(b.dir, "volume/file"), "content")
	b.mount(bindOf("volume", "/data"))
	if r := b.do("read /data/file"); r[0].Out != "content" {
		t.Error(r)
	}
}

func TestUncleanDestinationsWork(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.mount(specs.Mount{Destination: "//data/./a/../b//", Type: "tmpfs", Source: "mine"}, specs.Mount{Destination: "/with space/ünïcode", Type: "tmpfs", Source: "odd"})
	r := b.report()
	for point, source := range map[string]string{"/data/b": "mine", "/with space/ünïcode": "odd"} {
		if m, ok := mountAt(r, point); !ok || m.Source != source {
			t.Errorf("at %s: %+v", point, m)
		}
	}
}

func TestBindOfDirectoryOnFileIsRefused(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo")
	b.mount(bindOf(mustMkdir(t, b.path("dir")), "/etc/passwd"))
	peerLacks(t, "has words of its own", "crun")
	wantRefusal(t, b.run(), "/etc/passwd", "not a directory")
}

func TestRootPathMayBeAbsoluteOrALink(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo", "hello")
	b.Spec.Root.Path = b.rootfs()
	if r := b.mustRun(); r.stdout != "hello\n" {
		t.Error(r)
	}
	peerLacks(t, "wants a directory", "runc")
	must(t, os.Symlink("rootfs", filepath.Join(b.dir, "link")))
	b.Spec.Root.Path = "link"
	if r := b.mustRun(); r.stdout != "hello\n" {
		t.Error(r)
	}
}

// Engines bind the host's /dev for privileged containers: nothing may be made or changed in it.
func TestBoundDevOfTheHostIsNotTouched(t *testing.T) {
	t.Parallel()
	b := newBundle(t).without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
	dev := mustMkdir(t, b.path("dev"))
	must(t, unix.Mount("none", dev, "tmpfs", 0, "mode=755"))
	must(t, unix.Mknod(filepath.Join(dev, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	b.mount(bindOf(dev, "/dev"))
	wantResults(b, b.do("exists /dev/null"), "")
	entries, err := os.ReadDir(dev)
	if err != nil || len(entries) != 1 {
		t.Errorf("the host's directory now holds %v, %v", entries, err)
	}
}

func TestContainerWithoutAnyMountRuns(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo", "bare")
	b.Spec.Mounts, b.Spec.Linux.MaskedPaths, b.Spec.Linux.ReadonlyPaths = nil, nil, nil
	peerLacks(t, "want mounts", "runc", "crun")
	if r := b.mustRun(); r.stdout != "bare\n" {
		t.Error(r)
	}
}

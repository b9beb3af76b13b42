package runtimetest

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// exchange swaps two names again and again, as a process in a container that shares the volume would.
func exchange(t *testing.T, a, b string) {
	t.Helper()
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
			}
		}
	})
	t.Cleanup(func() { close(stop); done.Wait() })
}

// raced runs the container often while the volume at /vol changes its shape: "a" is at times a
// directory, at times a link to a directory of the host, in which nothing may ever appear.
func raced(t *testing.T, mounts func(b *bundle, n int)) {
	t.Helper()
	host := newBundle(t).path("host")
	mustMkdir(t, host)
	volume := filepath.Join(filepath.Dir(host), "volume")
	mustMkdir(t, filepath.Join(volume, "a"))
	must(t, os.Symlink(host, filepath.Join(volume, "b")))
	exchange(t, filepath.Join(volume, "a"), filepath.Join(volume, "b"))
	for n, end := 0, time.Now().Add(5*time.Second); n < 25 && (n < 5 || time.Now().Before(end)); n++ {
		b := newBundle(t)
		b.mount(bindOf(volume, "/vol"))
		mounts(b, n)
		b.Spec.Process.Args = doArgs([]string{"report"})
		r := b.run()
		if r.code == 0 {
			rep := b.decode(result{stdout: b.results(r.stdout)[0].Out})
			for _, m := range rep.Mounts {
				if m.Source == "escape" && len(m.Point) < len("/vol/a/") {
					t.Errorf("mounted at %s", m.Point)
				}
			}
		}
		if entries, _ := os.ReadDir(host); len(entries) > 0 {
			t.Fatalf("attempt %d: in the host's directory appeared %v: %v", n, entries, r)
		}
	}
}

// CVE-2021-30465: the destination of a mount changes into a link while the mount is made.
func TestAttackDestinationBecomesALinkDuringMount(t *testing.T) {
	t.Parallel()
	raced(t, func(b *bundle, n int) {
		b.mount(specs.Mount{Destination: "/vol/a/made", Type: "tmpfs", Source: "escape"})
	})
}

// CVE-2024-45310: the runtime makes a missing mount point, a directory or an empty file, behind the link.
func TestAttackMountPointIsMadeOnTheHost(t *testing.T) {
	t.Parallel()
	raced(t, func(b *bundle, n int) {
		file := mustWrite(b.t, b.path("file"), "x")
		b.mount(bindOf(file, "/vol/a/file"+itoa(n)), bindOf(mustMkdir(b.t, b.path("dir")), "/vol/a/deep/dir"+itoa(n)))
	})
}

// The same for what the runtime makes without being told where: devices and the working directory.
func TestAttackDevicesAndWorkingDirectoryAreMadeOnTheHost(t *testing.T) {
	t.Parallel()
	peerLacks(t, "is older than the cure", "runc", "crun")
	raced(t, func(b *bundle, n int) {
		b.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/vol/a/device" + itoa(n), Type: "c", Major: 1, Minor: 3}}
		b.Spec.Process.Cwd = "/vol/a/cwd" + itoa(n)
	})
}

// A static link in a volume of the host leads nowhere but into the container.
func TestAttackStaticLinkToTheHost(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo")
	host := mustMkdir(t, b.path("host"))
	mustMkdir(t, b.path("volume"))
	must(t, os.Symlink(host, b.path("volume/a")))
	must(t, os.Symlink("../../../../../../.."+host, b.path("volume/b")))
	file := mustWrite(t, b.path("file"), "x")
	b.mount(bindOf(b.path("volume"), "/vol"), bindOf(file, "/vol/a/file"), bindOf(file, "/vol/b/file"),
		specs.Mount{Destination: "/vol/a/tmp", Type: "tmpfs", Source: "escape"})
	b.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/vol/b/device", Type: "c", Major: 1, Minor: 3}}
	b.Spec.Process.Cwd = "/vol/b/cwd"
	b.Spec.Linux.MaskedPaths = append(b.Spec.Linux.MaskedPaths, "/vol/a")
	r := b.run()
	if entries, _ := os.ReadDir(host); len(entries) > 0 {
		t.Errorf("in the host's directory appeared %v: %v", entries, r)
	}
}

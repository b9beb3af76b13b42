package runtimetest

import (
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// wantRealProc accepts a refusal. A container that runs must have the kernel's /proc with its masks,
// wherever the image's links lead.
func wantRealProc(t *testing.T, b *bundle) {
	t.Helper()
	b.Spec.Process.Args = doArgs([]string{"read /proc/self/comm", "read /proc/keys", "read /proc/timer_list", "write /proc/sys/kernel/domainname x", "ls /sys/firmware"})
	r := b.run()
	if r.code != 0 {
		if strings.TrimSpace(r.stderr) == "" {
			t.Errorf("refused without a word: %v", r)
		}
		return
	}
	got := b.results(r.stdout)
	if got[0].Out != "probe" {
		t.Errorf("/proc is not the kernel's: %v", got[0])
	}
	for _, i := range []int{1, 2, 4} {
		if got[i].Out != "" {
			t.Errorf("%s is not masked: %q", got[i].Command, clip(got[i].Out))
		}
	}
	if got[3].Err == "" {
		t.Errorf("/proc/sys is writable: %v", got[3])
	}
}

// CVE-2019-16884: a volume over /proc makes the runtime write its security settings into files of the image.
func TestAttackVolumeOverProc(t *testing.T) {
	t.Parallel()
	peerLacks(t, "accepts it", "crun")
	for _, destination := range []string{"/proc", "/proc/self", "/proc/self/attr", "/proc/sys", "/./proc/", "/data/../proc/self"} {
		b := newBundle(t, "echo", "ran")
		mustWrite(t, b.path("volume/attr/exec"), "")
		mustWrite(t, b.path("volume/exec"), "")
		b.mount(bindOf(b.path("volume"), destination))
		if r := b.run(); r.code == 0 {
			t.Errorf("a volume at %s was accepted", destination)
		}
	}
}

// lxcfs and others give single files of /proc: these stay possible.
func TestVolumesOverHarmlessFilesOfProcAreAllowed(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	mustWrite(t, b.path("cpuinfo"), "mine")
	for _, f := range []string{"cpuinfo", "meminfo", "stat", "uptime", "loadavg", "swaps", "diskstats"} {
		b.mount(bindOf(b.path("cpuinfo"), "/proc/"+f))
	}
	if r := b.do("read /proc/cpuinfo", "read /proc/uptime"); r[0].Out != "mine" || r[1].Out != "mine" {
		t.Error(r)
	}
}

// CVE-2023-27561 and CVE-2019-19921: /proc or /sys of the image is a link into a volume.
func TestAttackProcIsALinkIntoAVolume(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"proc", "sys"} {
		b := newBundle(t)
		for _, f := range []string{"proc/self/attr/exec", "proc/keys", "proc/timer_list", "proc/self/comm", "sys/firmware/secret"} {
			mustWrite(t, b.path("volume", f), "from the volume")
		}
		must(t, os.Remove(b.inRoot(dir)))
		must(t, os.Symlink("/vol/"+dir, b.inRoot(dir)))
		b.Spec.Mounts = append([]specs.Mount{bindOf(b.path("volume"), "/vol")}, b.Spec.Mounts...)
		wantRealProc(t, b)
	}
}

// CVE-2023-28642: the link stays in the image and leads to a directory that only looks like /proc.
func TestAttackProcIsALinkInTheImage(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	for _, f := range []string{"self/attr/exec", "self/attr/apparmor/exec", "keys", "timer_list", "self/comm"} {
		mustWrite(t, b.inRoot("fake", f), "from the image")
	}
	must(t, os.Remove(b.inRoot("proc")))
	must(t, os.Symlink("fake", b.inRoot("proc")))
	wantRealProc(t, b)
}

// CVE-2025-52881: writes that the runtime makes to /proc on the container's behalf are led astray.
func TestAttackSysctlWriteIsRedirected(t *testing.T) {
	t.Parallel()
	cases := map[string]func(b *bundle){
		"volume over the directory": func(b *bundle) {
			mustMkdir(b.t, b.path("volume"))
			must(b.t, os.Symlink("/data/victim", b.path("volume/ip_forward")))
			b.mount(bindOf(b.path("volume"), "/proc/sys/net/ipv4"))
		},
		"tmpfs over the directory": func(b *bundle) {
			b.mount(specs.Mount{Destination: "/proc/sys/net", Type: "tmpfs", Source: "tmpfs"})
		},
		"proc is a link": func(b *bundle) {
			mustMkdir(b.t, b.inRoot("fake/sys/net/ipv4"))
			must(b.t, os.Symlink("/data/victim", b.inRoot("fake/sys/net/ipv4/ip_forward")))
			must(b.t, os.Remove(b.inRoot("proc")))
			must(b.t, os.Symlink("fake", b.inRoot("proc")))
			b.without("/proc")
		},
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "proc is a link" {
				peerLacks(t, "is older than the cure", "runc")
			}
			b := newBundle(t, "echo")
			victim := mustWrite(t, b.path("data/victim"), "untouched")
			b.mount(bindOf(b.path("data"), "/data"))
			b.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
			prepare(b)
			r := b.run()
			if text, _ := os.ReadFile(victim); string(text) != "untouched" {
				t.Errorf("the write went to another file, which now holds %q: %v", text, r)
			}
		})
	}
}

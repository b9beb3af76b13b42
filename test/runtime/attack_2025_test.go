package runtimetest

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The victims are settings of the container's own namespaces: on a runtime that falls for the attack
// nothing of the host changes.
const victimSetting = "/proc/sys/kernel/domainname"

// ownDev leaves /dev to the image, so that the image decides what lies there.
func ownDev(t *testing.T) *bundle {
	t.Helper()
	return newBundle(t).without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
}

// CVE-2025-31133: /dev/null of the image is a link to a file of /proc, which the runtime then mounts
// over what it was to mask, and so gives it away writable.
func TestAttackDevNullOfTheImageIsALink(t *testing.T) {
	t.Parallel()
	peerLacks(t, "is older than the cure", "runc", "crun")
	for _, target := range []string{victimSetting, "/etc/passwd", "/nowhere"} {
		b := ownDev(t)
		must(t, os.Symlink(target, b.inRoot("dev/null")))
		mustWrite(t, b.inRoot("secret"), "secret")
		b.Spec.Linux.MaskedPaths = append(b.Spec.Linux.MaskedPaths, "/secret")
		b.Spec.Process.Args = doArgs([]string{"read /proc/keys", "read /secret", "write /proc/keys x", "write /secret x"})
		r := b.run()
		if r.code != 0 {
			continue // refused: right
		}
		if r.stdout == "" {
			t.Errorf("/dev/null -> %s: the output of the container went elsewhere", target)
			continue
		}
		for _, got := range b.results(r.stdout)[:2] {
			if got.Out != "" {
				t.Errorf("/dev/null -> %s: %s gives %q", target, got.Command, got.Out)
			}
		}
	}
}

// The same in a race: /dev is a volume in which null is at times the device, at times a link.
func TestAttackDevNullChangesDuringStart(t *testing.T) {
	t.Parallel()
	peerLacks(t, "is older than the cure", "runc", "crun")
	shared := newBundle(t).path("dev")
	mustMkdir(t, shared)
	must(t, unix.Mknod(shared+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, os.Symlink(victimSetting, shared+"/other"))
	exchange(t, shared+"/null", shared+"/other")
	for n, end := 0, time.Now().Add(5*time.Second); n < 20 && (n < 5 || time.Now().Before(end)); n++ {
		b := ownDev(t)
		b.mount(bindOf(shared, "/dev"))
		b.Spec.Process.Args = doArgs([]string{"read /proc/keys", "read /proc/timer_list"})
		r := b.run()
		if r.code != 0 {
			continue
		}
		for _, got := range b.results(r.stdout) {
			if got.Out != "" {
				t.Fatalf("attempt %d: %s gives %q", n, got.Command, clip(got.Out))
			}
		}
	}
}

// CVE-2025-52565: /dev/console or /dev/pts of the image is a link, and the terminal is mounted where it leads.
func TestAttackConsoleOfTheImageIsALink(t *testing.T) {
	t.Parallel()
	peerLacks(t, "is older than the cure", "runc", "crun")
	for _, target := range []string{victimSetting, "/etc/victim"} {
		b := ownDev(t)
		b.mount(defaultMounts()[2]) // devpts
		must(t, os.MkdirAll(b.inRoot("dev/pts"), 0o755))
		mustWrite(t, b.inRoot("etc/victim"), "untouched")
		must(t, os.Symlink(target, b.inRoot("dev/console")))
		b.Spec.Process.Terminal = true
		b.Spec.Process.Args = []string{"/probe", "report"}
		path, master := consoleSocket(t, b)
		if r := b.tryCreate("--console-socket", path); r.code != 0 {
			continue // refused: right
		}
		tr := follow(master())
		b.start()
		tr.ended(t)
		for _, m := range b.decode(result{stdout: tr.String()}).Mounts {
			if m.Type == "devpts" && m.Point != "/dev/pts" && m.Point != "/dev/console" {
				t.Errorf("the terminal is mounted at %s", m.Point)
			}
		}
		b.destroy()
	}
}

// The same for a directory of terminals that the image supplies, with the name the terminal will have.
func TestAttackTerminalNameOfTheImageIsALink(t *testing.T) {
	t.Parallel()
	b := ownDev(t)
	mustMkdir(t, b.inRoot("dev/pts"))
	victim := mustWrite(t, b.inRoot("etc/victim"), "untouched")
	must(t, os.Symlink("/etc/victim", b.inRoot("dev/pts/0")))
	must(t, os.Symlink("/etc/victim", b.inRoot("dev/ptmx")))
	b.Spec.Process.Terminal = true
	b.Spec.Process.Args = []string{"/probe", "do", "write", "/dev/console", "overwritten"}
	path, master := consoleSocket(t, b)
	if r := b.tryCreate("--console-socket", path); r.code == 0 {
		tr := follow(master())
		b.start()
		tr.ended(t)
	}
	if text, _ := os.ReadFile(victim); !strings.HasPrefix(string(text), "untouched") {
		t.Errorf("the victim holds %q", text)
	}
}

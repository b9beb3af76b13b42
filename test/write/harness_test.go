// Package writetest proves what containers may write, and where: in memory or on flash, within limits,
// and by default nothing on flash. It runs the built program on file systems of its own.
package writetest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tare.dev/tare/test/built"
	"tare.dev/tare/test/rootfs"
)

// TestMain runs the tests in a mount namespace of their own.
func TestMain(m *testing.M) { os.Exit(built.RunAlone(m)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A flash is a file system on a loop device.
type flash struct {
	at, device string
}

// newFlash makes and mounts an ext4, which is gone after the test.
func newFlash(t *testing.T, mkfs []string, options string) flash {
	t.Helper()
	f, err := mountFlash(t, mkfs, options)
	must(t, err)
	return f
}

func mountFlash(t *testing.T, mkfs []string, options string) (flash, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "flash.img")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Truncate(file, 128<<20))
	args := append([]string{"-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"}, mkfs...)
	if out, err := exec.Command("mkfs.ext4", append(args, file)...).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v\n%s", err, out)
	}
	f := flash{filepath.Join(dir, "flash"), strings.TrimSpace(string(out))}
	must(t, os.Mkdir(f.at, 0o755))
	err = unix.Mount(f.device, f.at, "ext4", 0, options)
	t.Cleanup(func() {
		if err == nil {
			unmount(t, f.at)
		}
		if out, err := exec.Command("losetup", "--detach", f.device).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach: %v\n%s", err, out)
		}
	})
	return f, err
}

func unmount(t *testing.T, at string) {
	t.Helper()
	// A process that was killed has its mounts for a moment longer.
	for try := 0; ; try++ {
		err := unix.Unmount(at, 0)
		if err == nil {
			return
		}
		if err != unix.EBUSY || try == 1000 {
			t.Errorf("unmount %s: %v", at, err)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// written is the sectors of 512 bytes that the device has been given, once all is on it.
func (f flash) written(t *testing.T) int {
	t.Helper()
	d, err := os.Open(f.at)
	must(t, err)
	defer d.Close()
	must(t, unix.Syncfs(int(d.Fd())))
	text, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(f.device), "stat"))
	must(t, err)
	var n [7]int
	_, err = fmt.Sscan(string(text), &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6])
	must(t, err)
	return n[6]
}

// A device has the program, a root on flash, and a run directory in memory.
type device struct {
	t         *testing.T
	path      string
	root, run string
}

// newDevice has the image box, of busybox.
func newDevice(t *testing.T, f flash) *device {
	t.Helper()
	d := &device{t: t, path: built.Tare(t), root: filepath.Join(f.at, "tare"), run: filepath.Join(t.TempDir(), "run")}
	must(t, os.Mkdir(d.run, 0o755))
	must(t, unix.Mount("run", d.run, "tmpfs", 0, "mode=755"))
	t.Cleanup(func() { unmount(t, d.run) })
	box := filepath.Join(t.TempDir(), "box")
	must(t, rootfs.Busybox(box))
	d.add("box", box)
	return d
}

// add imports a directory as an image.
func (d *device) add(name, dir string) {
	d.t.Helper()
	file := dir + ".tar"
	if out, err := exec.Command("tar", "-C", dir, "-cf", file, ".").CombinedOutput(); err != nil {
		d.t.Fatalf("tar: %v\n%s", err, out)
	}
	d.must("import", "-q", file, name)
}

type result struct {
	out, err string
	code     int
}

func (d *device) command(args ...string) *exec.Cmd {
	cmd := exec.Command(d.path, append([]string{"--root", d.root, "--run", d.run}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (d *device) do(args ...string) result {
	d.t.Helper()
	cmd := d.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	must(d.t, cmd.Start())
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	_ = cmd.Wait() // the exit status tells
	if !timer.Stop() {
		d.t.Fatalf("tare %s: still running\n%s%s", strings.Join(args, " "), &out, &errs)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// must returns what it printed, without the last line's end.
func (d *device) must(args ...string) string {
	d.t.Helper()
	r := d.do(args...)
	if r.code != 0 {
		d.t.Fatalf("tare %s: exit status %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return strings.TrimSuffix(r.out, "\n")
}

// refused runs a command that fails with one line that has all the words.
func (d *device) refused(words string, args ...string) {
	d.t.Helper()
	r := d.do(args...)
	if r.code != 1 || strings.Count(r.err, "\n") != 1 || !strings.HasPrefix(r.err, "tare: ") {
		d.t.Fatalf("tare %s: exit status %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	for word := range strings.SplitSeq(words, "|") {
		if !strings.Contains(r.err, word) {
			d.t.Errorf("tare %s: %q lacks %q", strings.Join(args, " "), r.err, word)
		}
	}
}

// left is the names in a directory below the root; none is nil.
func (d *device) left(dir string) []string {
	d.t.Helper()
	entries, err := os.ReadDir(filepath.Join(d.root, dir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

package sysprog

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestEntry links a program with the entry code for each CPU that has one and
// checks when a stored program runs instead of Go. Other CPUs run under
// qemu-user, which make test installs.
func TestEntry(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: stored programs are root's")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs the go command to build for other CPUs")
	}
	for _, cpu := range []struct{ arch, qemu string }{{"amd64", "qemu-x86_64-static"}, {"arm64", "qemu-aarch64-static"}, {"arm", "qemu-arm-static"}} {
		t.Run(cpu.arch, func(t *testing.T) {
			dir := t.TempDir()
			program := filepath.Join(dir, "stored")
			build := exec.Command(goTool, "build", "-ldflags=-E=tare.dev/tare/internal/sysprog.entry", "-o", program, "./testdata/stored")
			build.Env = append(os.Environ(), "GOARCH="+cpu.arch, "CGO_ENABLED=0", "GOFLAGS=")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build: %v\n%s", err, out)
			}
			run := func(env string, args ...string) (string, int) {
				t.Helper()
				cmd := exec.Command(program, args...)
				if cpu.arch != runtime.GOARCH {
					cmd = emulated(cpu.qemu, append([]string{program}, args...))
				}
				cmd.Env = append(os.Environ(), env)
				cmd.Dir = dir
				out, err := cmd.CombinedOutput()
				if cmd.ProcessState == nil {
					t.Fatalf("run %s: %v", cmd.Path, err)
				}
				return string(out), cmd.ProcessState.ExitCode()
			}
			expect := func(what, out string, code int, wantOut string, wantCode int) {
				t.Helper()
				if out != wantOut || code != wantCode {
					t.Errorf("%s: %q, exit %d, want %q, exit %d", what, out, code, wantOut, wantCode)
				}
			}
			out, code := run("A=1", "hello", "world")
			expect("nothing stored", out, code, "Go has started [hello world]\n", 0)
			out, code = run("A=1", "entered")
			expect("linked to start at the entry", out, code, "true\n", 0)
			name, code := run("A=1", "store", "hello", "world")
			if code != 0 {
				t.Fatalf("store: %s", name)
			}
			file := filepath.Join(StoreDir, strings.TrimSpace(name))
			t.Cleanup(func() { _ = os.Remove(file) })
			out, code = run("A=1", "hello", "world")
			expect("the same command line", out, code, "replayed\n", 7)
			out, code = run("A=1", "hello", "worlds")
			expect("another command line", out, code, "Go has started [hello worlds]\n", 0)
			out, code = run("LISTEN_FDS=1", "hello", "world")
			expect("LISTEN_FDS", out, code, "Go has started [hello world]\n", 0)
			out, code = run("NOTIFY_SOCKET=/x", "hello", "world")
			expect("NOTIFY_SOCKET", out, code, "Go has started [hello world]\n", 0)
			if err := os.WriteFile(filepath.Join(dir, "give-up"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			out, code = run("A=1", "hello", "world")
			expect("a program that gives up", out, code, "replayed\nGo has started [hello world]\n", 0)
			_ = os.Remove(filepath.Join(dir, "give-up"))
			entryRefuses(t, file, func() (string, int) { return run("A=1", "hello", "world") })
		})
	}
}

func TestEnteredIsFalseWithoutTheFlag(t *testing.T) {
	if Entered() {
		t.Error("Entered() = true in a program that starts in Go")
	}
}

// emulated runs a program for another CPU. The emulator knows no open_tree(2),
// and /proc/self/exe is the emulator itself; so that is mounted read-only, as a
// device's root is, and the entry code finds nothing to protect.
func emulated(qemu string, args []string) *exec.Cmd {
	const script = `q=$(command -v "$0") && mount --bind "$q" "$q" && mount -o remount,bind,ro "$q" && exec "$q" "$@"`
	cmd := exec.Command("sh", append([]string{"-c", script, qemu}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd
}

// entryRefuses spoils the stored file in several ways; Go must start each time.
func entryRefuses(t *testing.T, file string, run func() (string, int)) {
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct {
		what  string
		spoil func()
	}{
		{"writable by others", func() { _ = os.Chmod(file, 0o602) }},
		{"somebody else's", func() { _ = os.Chown(file, 12345, 0) }},
		{"cut off in the middle", func() { _ = os.WriteFile(file, good[:len(good)-1], 0o600) }},
		{"cut off", func() { _ = os.WriteFile(file, good[:20], 0o600) }},
		{"of another layout", func() {
			b := append([]byte(nil), good...)
			b[resMagic*WordSize]++
			b[2*4]++ // where it lies on 32-bit CPUs
			_ = os.WriteFile(file, b, 0o600)
		}},
		{"a link", func() {
			_ = os.Rename(file, file+".real")
			_ = os.Symlink(file+".real", file)
		}},
	} {
		bad.spoil()
		if out, code := run(); code != 0 || !strings.HasPrefix(out, "Go has started") {
			t.Errorf("%s: %q, exit %d, want Go to start", bad.what, out, code)
		}
		_ = os.Remove(file)
		_ = os.Remove(file + ".real")
		if err := os.WriteFile(file, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

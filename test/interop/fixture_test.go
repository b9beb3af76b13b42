package interop

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// needRoot skips the test for an ordinary user.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("must run as root: it starts an engine")
	}
}

// needProgram returns the path of a program, and skips the test without it.
func needProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed (see packages.txt)", name)
	}
	return path
}

// runtimeUnderTest returns the path of the runtime: TARE_RUNTIME, or cmd/tare,
// built and linked as tare-runtime.
func runtimeUnderTest(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("TARE_RUNTIME"); path != "" {
		return path
	}
	dir := scratch(t, "program")
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "tare"), "tare.dev/tare/cmd/tare")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build tare: %v\n%s", err, out)
	}
	link := filepath.Join(dir, "tare-runtime")
	if err := os.Symlink("tare", link); err != nil {
		t.Fatal(err)
	}
	return link
}

// imageName is how every engine knows the test's image.
const imageName = "localhost/box:1"

// applets are the names that busybox gets in the image.
var applets = []string{
	"sh", "cat", "dd", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ls", "mount",
	"nproc", "ps", "pwd", "sed", "sleep", "stat", "stty", "tail", "test", "touch", "true", "tty", "wc",
}

// writeImage writes an image archive as `docker save` makes it, the one form
// that Docker, Podman and containerd all load.
func writeImage(t *testing.T) string {
	t.Helper()
	busybox, err := os.ReadFile(needProgram(t, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, dir := range []string{"bin", "dev", "etc", "proc", "root", "sys", "tmp", "home"} {
		add(t, w, &tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, nil)
	}
	add(t, w, &tar.Header{Name: "bin/busybox", Mode: 0o755}, busybox)
	for _, name := range applets {
		add(t, w, &tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777}, nil)
	}
	add(t, w, &tar.Header{Name: "etc/passwd", Mode: 0o644},
		[]byte("root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home:/bin/sh\n"))
	add(t, w, &tar.Header{Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\nweb:x:1000:\nvideo:x:44:web\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(layer.Bytes())
	config := marshal(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{
			"Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			"Cmd": []string{"sh"},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	file := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w = tar.NewWriter(f)
	add(t, w, &tar.Header{Name: "config.json", Mode: 0o644}, config)
	add(t, w, &tar.Header{Name: "layer.tar", Mode: 0o644}, layer.Bytes())
	add(t, w, &tar.Header{Name: "manifest.json", Mode: 0o644}, marshal(t, []any{map[string]any{
		"Config": "config.json", "RepoTags": []string{imageName}, "Layers": []string{"layer.tar"},
	}}))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

func add(t *testing.T, w *tar.Writer, h *tar.Header, content []byte) {
	t.Helper()
	h.Size = int64(len(content))
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// scratch makes a directory for an engine, which may leave mounts in it: they
// are unmounted before it is removed.
func scratch(t *testing.T, name string) string {
	t.Helper()
	// Short, because sockets below it have paths of at most 107 bytes.
	dir, err := os.MkdirTemp("", "tare-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	// Users of a mapped container pass through it.
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unmountBelow(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the engine's directory: %v", err)
		}
	})
	return dir
}

func unmountBelow(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Error(err)
		return
	}
	lines := strings.Split(string(text), "\n")
	for i := len(lines) - 1; i >= 0; i-- { // latest first
		f := strings.Fields(lines[i])
		if len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			if err := unix.Unmount(f[1], unix.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", f[1], err)
			}
		}
	}
}

// daemon starts a program that runs until the test ends, in a session of its
// own, and says what it logged if the test fails.
func daemon(t *testing.T, dir string, env []string, argv ...string) {
	t.Helper()
	logFile := filepath.Join(dir, filepath.Base(argv[0])+".log")
	log, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of %s:\n%s", logFile, tail(logFile))
		}
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may be gone
		select {
		case <-ended:
		case <-time.After(limit):
			t.Errorf("%s did not end within %v of SIGTERM", argv[0], limit)
			_ = cmd.Process.Kill()
			<-ended
		}
		killSession(t, cmd.Process.Pid)
	})
}

// killSession ends what a daemon left running: every process whose session is
// the daemon's, and the shims below dir.
func killSession(t *testing.T, session int) {
	t.Helper()
	for _, pid := range processes() {
		sid, err := unix.Getsid(pid)
		// A dead process that nobody has waited for has no command line.
		if err == nil && sid == session && commandLine(pid) != "" {
			t.Logf("killing process %d, which the daemon left: %s", pid, commandLine(pid))
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// killMentioning ends the processes whose command line names dir, which only
// this test's do: shims that outlive their daemon. Those that are about to end
// by themselves, as the commands that clean up after a container, get the time.
func killMentioning(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); len(mentioning(dir)) > 0 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	for _, pid := range mentioning(dir) {
		t.Errorf("process %d was left behind: %s", pid, commandLine(pid))
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

func mentioning(dir string) (list []int) {
	for _, pid := range processes() {
		if pid != os.Getpid() && strings.Contains(commandLine(pid), dir) {
			list = append(list, pid)
		}
	}
	return list
}

func processes() []int {
	names, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
	var list []int
	for _, name := range names {
		var pid int
		if _, err := fmt.Sscan(filepath.Base(name), &pid); err == nil {
			list = append(list, pid)
		}
	}
	return list
}

func commandLine(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(strings.TrimRight(string(text), "\x00"), "\x00", " ")
}

func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	if len(text) > 4000 {
		text = text[len(text)-4000:]
	}
	return string(text)
}

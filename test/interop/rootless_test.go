package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tester is the user that TestPodmanRootless becomes. It exists only in the
// mount namespace of each command, as lines of files that cover those in /etc.
const (
	tester   = 12345
	testerIn = "tester:x:12345:12345::%s/home:/bin/sh\n"
)

func TestPodmanRootless(t *testing.T) {
	needRoot(t)
	podman := needProgram(t, "podman")
	needProgram(t, "conmon")
	needProgram(t, "newuidmap")
	image := writeImage(t)
	dir := scratch(t, "rootless")
	for _, name := range []string{"home", "run", "home/state"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(dir, name), tester, tester); err != nil {
			t.Fatal(err)
		}
	}
	writeFiles(t, dir, map[string]string{
		"passwd": read(t, "/etc/passwd") + fmt.Sprintf(testerIn, dir),
		"group":  read(t, "/etc/group") + "tester:x:12345:\n",
		"subuid": "tester:300000:65536\n",
		"subgid": "tester:300000:65536\n",
		"containers.conf": "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n" +
			"[engine]\nevents_logger = \"file\"\n[network]\nnetwork_config_dir = \"" + dir + "/home/networks\"\n",
		"image.tar": read(t, image),
	})
	// The program under test may lie where the user cannot go.
	original := runtimeUnderTest(t)
	program := filepath.Join(dir, filepath.Base(original))
	if err := os.WriteFile(program, []byte(read(t, original)), 0o755); err != nil {
		t.Fatal(err)
	}
	e := &engine{
		name: "podman", image: imageName, force: []string{"--force", "--time", "0"},
		runtime: program, state: filepath.Join(dir, "home/state"),
		command: []string{
			"unshare", "--mount", "sh", "-c", `dir=$1; shift
			for f in passwd group subuid subgid; do mount --bind $dir/$f /etc/$f || exit 100; done
			cd /
			exec setpriv --reuid 12345 --regid 12345 --clear-groups env -i PATH=$PATH USER=tester HOME=$dir/home \
				XDG_RUNTIME_DIR=$dir/run CONTAINERS_CONF=$dir/containers.conf "$@"`,
			"sh", dir, podman, "--runtime", program, "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs",
		},
	}
	t.Cleanup(func() { endPause(t, dir) })
	e.must(t, "load", "--quiet", "--input", filepath.Join(dir, "image.tar"))
	t.Run("Mapped", func(t *testing.T) {
		out := e.must(t, e.run([]string{"--rm"}, "sh", "-c", "id -u; cat /proc/self/uid_map; stat -c %u /bin/busybox")...)
		if got, want := strings.Join(strings.Fields(out), " "), "0 0 12345 1 1 300000 65536 0"; got != want {
			t.Errorf("printed %q, want %q", got, want)
		}
	})
	t.Run("RunPrintsAndExits", e.testRun)
	t.Run("ExitCodes", e.testExitCodes)
	t.Run("Environment", e.testEnvironment)
	t.Run("Isolation", e.testIsolation)
	t.Run("Terminal", e.testTerminal)
	t.Run("DetachedLogs", e.testLogs)
	t.Run("Exec", e.testExec)
	t.Run("ExecTerminal", e.testExecTerminal)
	t.Run("Stop", e.testStop)
	t.Run("KillWithSignal", e.testKill)
	t.Run("ReadOnlyUserCaps", e.testReadOnly)
	t.Run("RemoveRunning", e.testRemove)
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// endPause ends the process that holds a rootless user's namespaces.
func endPause(t *testing.T, dir string) {
	text, err := os.ReadFile(filepath.Join(dir, "run/libpod/tmp/pause.pid"))
	if err != nil {
		t.Errorf("find Podman's pause process: %v", err)
		return
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Error(err)
		return
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Errorf("kill Podman's pause process %d: %v", pid, err)
	}
	killMentioning(t, dir)
}

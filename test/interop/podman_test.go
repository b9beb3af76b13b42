package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestPodman(t *testing.T) {
	needRoot(t)
	podman := needProgram(t, "podman")
	needProgram(t, "conmon")
	image := writeImage(t)
	dir := scratch(t, "podman")
	conf := filepath.Join(dir, "containers.conf")
	// Default limits that a machine without CAP_SYS_RESOURCE can set, and no
	// look at the machine's networks.
	if err := os.WriteFile(conf, []byte(`[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
events_logger = "file"
[network]
network_config_dir = "`+dir+`/networks"
`), 0o644); err != nil {
		t.Fatal(err)
	}
	e := &engine{
		name:   "podman",
		image:  imageName,
		parent: fmt.Sprintf("/tare-podman-%d", os.Getpid()),
		env:    []string{"CONTAINERS_CONF=" + conf},
		// No root of its own: the process that Podman leaves to clean up a
		// container does not know of --runtime-flag.
		runtime: runtimeUnderTest(t),
	}
	e.before = e.listed(t)
	e.command = []string{
		podman, "--runtime", e.runtime,
		"--root", dir + "/root", "--runroot", dir + "/run", "--tmpdir", dir + "/tmp",
		"--cgroup-manager", "cgroupfs", "--storage-driver", "vfs",
	}
	e.common = []string{"--cgroup-parent", e.parent}
	e.force = []string{"--force", "--time", "0"}
	e.must(t, "load", "--quiet", "--input", image)
	t.Cleanup(func() {
		e.removeParent(t)
		killMentioning(t, dir)
	})
	e.suite(t)
	t.Run("UserNamespace", func(t *testing.T) { testPodmanUserNamespace(t, e) })
	t.Run("CreateInitStart", func(t *testing.T) { testPodmanInit(t, e) })
	t.Run("Hooks", func(t *testing.T) { testPodmanHooks(t, e) })
	t.Run("PreservedDescriptors", func(t *testing.T) { testPodmanPreserve(t, e) })
	t.Run("SystemdMode", func(t *testing.T) { testPodmanSystemdMode(t, e) })
	t.Run("Umask", func(t *testing.T) {
		if out := e.must(t, e.run([]string{"--rm", "--umask", "0027"}, "sh", "-c", "umask")...); out != "0027" {
			t.Errorf("umask is %q, want 0027", out)
		}
	})
	e.leftovers(t)
}

// testPodmanHooks runs a hook of each kind that Podman knows, which keeps the
// state it is told.
func testPodmanHooks(t *testing.T, e *engine) {
	dir := t.TempDir()
	// Two kinds run in the container's view, where these directories are not.
	for _, stage := range []string{"prestart", "createRuntime", "poststart", "poststop"} {
		hook := map[string]any{
			"version": "1.0.0",
			"hook": map[string]any{
				"path": "/bin/sh", "args": []string{"sh", "-c", "cat >" + filepath.Join(dir, stage)}, "timeout": 20,
			},
			"when": map[string]any{"always": true}, "stages": []string{stage},
		}
		if err := os.WriteFile(filepath.Join(dir, stage+".json"), marshal(t, hook), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	hooked := *e
	hooked.command = append(e.command[:len(e.command):len(e.command)], "--hooks-dir", dir)
	hooked.must(t, e.run([]string{"--name", "hooked"}, "true")...)
	hooked.must(t, "rm", "hooked")
	// runc 1.1 tells poststart hooks "created".
	for stage, status := range map[string]string{
		"prestart": "", "createRuntime": "", "poststart": "running|stopped|created", "poststop": "stopped",
	} {
		var state struct {
			ID, Status, Bundle string
			Pid                int
		}
		if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, stage))), &state); err != nil {
			t.Errorf("%s: %v", stage, err)
			continue
		}
		if len(state.ID) != 64 || state.Bundle == "" || status != "" && !strings.Contains(status, state.Status) {
			t.Errorf("%s was told %+v", stage, state)
		}
	}
}

func testPodmanPreserve(t *testing.T, e *engine) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("through descriptor 3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	argv := append(e.command[:len(e.command):len(e.command)],
		e.run([]string{"--rm", "--preserve-fds", "1"}, "sh", "-c", "cat <&3; ls /proc/self/fd")...)
	cmd := exec.Command("sh", "-c", `exec "$@" 3<`+file, "sh")
	cmd.Args = append(cmd.Args, argv...)
	cmd.Env = append(os.Environ(), e.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// ls itself opens one more, for the directory.
	if got, want := strings.Join(strings.Fields(string(out)), " "), "through descriptor 3 0 1 2 3 4"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

// testPodmanSystemdMode runs as Podman does when the program is systemd: a
// writable group of its own, tmpfs on /run.
func testPodmanSystemdMode(t *testing.T, e *engine) {
	out := e.must(t, e.run([]string{"--rm", "--systemd", "always"}, "sh", "-c",
		"grep -c ' /run tmpfs ' /proc/mounts; "+
			"cd /sys/fs/cgroup/systemd 2>/dev/null && cd .$(sed -n 's/.*name=systemd://p' /proc/self/cgroup) || cd /sys/fs/cgroup; touch cgroup.procs && echo writable")...)
	if out != "1\nwritable" {
		t.Errorf("printed %q", out)
	}
}

func testPodmanUserNamespace(t *testing.T, e *engine) {
	out := e.must(t, e.run([]string{"--rm", "--uidmap", "0:100000:5000", "--gidmap", "0:200000:5000"},
		"sh", "-c", "id -u; cat /proc/self/uid_map /proc/self/gid_map; stat -c %u /etc/passwd")...)
	if got, want := strings.Join(strings.Fields(out), " "), "0 0 100000 5000 0 200000 5000 0"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
	name := e.start(t, []string{"--uidmap", "0:100000:5000"}, "sleep", "100")
	if got := e.must(t, "exec", name, "sh", "-c", "id -u; cat /proc/self/uid_map"); !strings.Contains(got, "100000") {
		t.Errorf("exec printed %q", got)
	}
	if got := e.must(t, "exec", "--user", "web", name, "id", "-u"); got != "1000" {
		t.Errorf("exec as web printed %q, want 1000", got)
	}
}

// testPodmanInit creates and starts in two steps, as pods and units do.
func testPodmanInit(t *testing.T, e *engine) {
	args := append([]string{"create", "--network", "none", "--name", "two-steps"}, e.common...)
	e.must(t, append(args, e.image, "sh", "-c", "echo started; exit 2")...)
	e.must(t, "init", "two-steps") // the runtime's create
	if got := e.inspect(t, "two-steps", "{{.State.Status}}"); got != "initialized" && got != "created" {
		t.Errorf("status is %q, want initialized", got)
	}
	e.want(t, 2, "start", "--attach", "two-steps")
	e.must(t, "rm", "two-steps")
}

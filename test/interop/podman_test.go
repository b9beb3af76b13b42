package interop

import (
	"fmt"
	"os"
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
	e.leftovers(t)
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

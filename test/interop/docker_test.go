package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDocker(t *testing.T) {
	needRoot(t)
	docker, dockerd := needProgram(t, "docker"), needProgram(t, "dockerd")
	needProgram(t, "containerd")
	image := writeImage(t)
	e := startDocker(t, docker, dockerd)
	e.must(t, "load", "--quiet", "--input", image)
	if got := e.must(t, "info", "--format", "{{.DefaultRuntime}}"); got != "under-test" {
		t.Fatalf("the default runtime is %q", got)
	}
	e.suite(t)
	t.Run("WorkdirIsMade", func(t *testing.T) {
		if out := e.must(t, e.run([]string{"--rm", "--workdir", "/made/here"}, "pwd")...); out != "/made/here" {
			t.Errorf("printed %q, want /made/here", out)
		}
	})
	t.Run("RestartPolicy", func(t *testing.T) { testDockerRestartPolicy(t, e) })
	t.Run("OOMKilled", func(t *testing.T) { testDockerOOMKilled(t, e) })
	e.leftovers(t)
}

// startDocker starts a daemon of its own, which starts a containerd of its own.
// It makes no bridge and no packet filter rule.
func startDocker(t *testing.T, docker, dockerd string, options ...string) *engine {
	t.Helper()
	dir := scratch(t, "docker")
	e := &engine{
		name:    "docker",
		command: []string{docker, "--host", "unix://" + dir + "/sock"},
		image:   imageName,
		parent:  fmt.Sprintf("/tare-docker-%d", os.Getpid()),
		runtime: runtimeUnderTest(t),
		state:   filepath.Join(dir, "exec/runtime-under-test/moby"),
		env:     []string{"DOCKER_CONFIG=" + dir, "DOCKER_CLI_HINTS=false"},
	}
	e.force = []string{"--force"}
	t.Cleanup(func() {
		e.removeParent(t)
		killMentioning(t, dir)
	})
	daemon(t, dir, nil, append([]string{
		dockerd, "--data-root", dir + "/data", "--exec-root", dir + "/exec",
		"--pidfile", dir + "/pid", "--host", "unix://" + dir + "/sock",
		"--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none",
		"--storage-driver", "vfs", "--cgroup-parent", e.parent,
		"--exec-opt", "native.cgroupdriver=cgroupfs",
		"--add-runtime", "under-test=" + e.runtime, "--default-runtime", "under-test",
	}, options...)...)
	eventually(t, "dockerd answers", func() bool { return e.do(t, "version").code == 0 })
	return e
}

func testDockerRestartPolicy(t *testing.T, e *engine) {
	name := e.start(t, []string{"--restart", "on-failure:2"}, "sh", "-c", "echo again; exit 1")
	eventually(t, "docker has given up", func() bool { return e.inspect(t, name, "{{.State.Status}}") == "exited" })
	if out := e.do(t, "logs", name).stdout; strings.Count(out, "again") != 3 {
		t.Errorf("ran %d times, want 3: %q", strings.Count(out, "again"), out)
	}
}

func testDockerOOMKilled(t *testing.T, e *engine) {
	// The shell lives on for a while: docker 20.10 forgets what it is told after the end.
	name := e.start(t, []string{"--memory", "16m", "--memory-swap", "16m"}, "sh", "-c", "tail /dev/zero; code=$?; sleep 2; exit $code")
	if code := e.must(t, "wait", name); code != "137" {
		t.Errorf("exit status %s, want 137", code)
	}
	eventually(t, "docker sees that memory ran out", func() bool { return e.inspect(t, name, "{{.State.OOMKilled}}") == "true" })
}

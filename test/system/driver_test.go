package system

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// needSystemd skips where the machine itself was not started by systemd.
func needSystemd(t *testing.T) {
	t.Helper()
	comm, err := os.ReadFile("/proc/1/comm")
	if err != nil || strings.TrimSpace(string(comm)) != "systemd" || os.Geteuid() != 0 {
		t.Skip("needs systemd as the machine's first process, and root")
	}
}

// TestDriverMakesAScope runs a container whose control group is the machine's systemd to make.
func TestDriverMakesAScope(t *testing.T) {
	needSystemd(t)
	id := fmt.Sprintf("driver-%d", os.Getpid())
	unit := "tare-" + id + ".scope"
	s := &system{path: runtimePath(t), id: id, state: filepath.Join(t.TempDir(), "state")}
	dir := bundle(t, id)
	limit, pids := int64(64<<20), int64(40)
	change(t, dir, func(spec *specs.Spec) {
		spec.Process.Terminal = false
		spec.Process.Args = []string{"sleep", "1000"}
		spec.Linux.CgroupsPath = "system.slice:tare:" + id
		spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit}
		spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: &pids}
	})
	t.Cleanup(func() { s.runtime("delete", "--force", id).Run() })
	s.mustRun(t, "--systemd-cgroup", "run", "--detach", "--bundle", dir, id)

	var state specs.State
	if err := json.Unmarshal([]byte(s.mustRun(t, "state", id)), &state); err != nil {
		t.Fatal(err)
	}
	group, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", state.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if want := "0::/system.slice/" + unit; !strings.HasPrefix(string(group), want) {
		t.Errorf("control group of the container = %q, want %s", group, want)
	}
	wantProperties(t, unit, "ActiveState=active", "MemoryMax=67108864", "TasksMax=40", "Delegate=yes")

	// systemd must know of an update, or its next change of the unit would undo it.
	s.mustRun(t, "update", "--memory", "33554432", id)
	wantProperties(t, unit, "MemoryMax=33554432")

	s.mustRun(t, "kill", id, "KILL")
	s.mustRun(t, "delete", "--force", id)
	wantProperties(t, unit, "ActiveState=inactive")
	if _, err := os.Stat("/sys/fs/cgroup/system.slice/" + unit); err == nil {
		t.Error("the control group is still there after delete")
	}
}

func wantProperties(t *testing.T, unit string, want ...string) {
	t.Helper()
	for _, property := range want {
		name, _, _ := strings.Cut(property, "=")
		out, err := exec.Command("systemctl", "show", unit, "--property", name).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != property {
			t.Errorf("systemctl show %s = %q, %v, want %s", unit, got, err, property)
		}
	}
}

// change rewrites a bundle's config.json.
func change(t *testing.T, dir string, edit func(*specs.Spec)) {
	t.Helper()
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	edit(&spec)
	if text, err = json.Marshal(spec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// mustRun runs the runtime and returns its output. The output is a file, which a container that keeps
// it open does not hold up.
func (s *system) mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := s.runtime(args...)
	cmd.Stdout, cmd.Stderr = out, out
	runErr := cmd.Run()
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	if runErr != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), runErr, text)
	}
	return string(text)
}

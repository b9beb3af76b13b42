package system

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What the runtime exits with when the container ends: 128 + the signal that reboot(2) gives the
// first process of a pid namespace.
const (
	restarted = 128 + int(unix.SIGHUP)
	halted    = 128 + int(unix.SIGINT)
)

// patience is long because an emulated machine is slow.
const patience = 150 * time.Second // above the 90 s that systemd gives a unit to stop: on v1 it does not always see that one has

func TestRestartInsideIsTold(t *testing.T) {
	s := boot(t)
	s.login()
	s.command("systemctl reboot")
	if got := s.wait(patience); got != restarted {
		t.Errorf("exit status after a restart = %d, want %d", got, restarted)
	}
	s.gone()
}

func TestPowerOffInsideEndsIt(t *testing.T) {
	s := boot(t)
	s.login()
	s.command("systemctl poweroff")
	if got := s.wait(patience); got != halted {
		t.Errorf("exit status after switching off = %d, want %d", got, halted)
	}
	s.gone()
}

// TestStopSignal sends what systemd takes for "halt": SIGRTMIN+3.
func TestStopSignal(t *testing.T) {
	s := boot(t)
	s.expect("login: ", patience)
	if out, err := s.runtime("kill", s.id, "37").CombinedOutput(); err != nil {
		t.Fatalf("kill: %v\n%s", err, out)
	}
	if got := s.wait(patience); got != halted {
		t.Errorf("exit status after SIGRTMIN+3 = %d, want %d", got, halted)
	}
	s.gone()
}

func TestItSeesOnlyItself(t *testing.T) {
	s := boot(t)
	s.login()
	for command, want := range map[string]string{
		"cat /proc/1/comm":                 "systemd",
		"hostname":                         "debian",
		"ps --no-headers -o comm -p 2":     "",
		"tty":                              "/dev/console",
		"systemctl is-active dbus.service": "active",
		"systemd-detect-virt --container":  "container-other",
		"cat /proc/self/cgroup | grep -c -e '\\.\\.'": "0",
	} {
		if got := s.command(command); got != want {
			t.Errorf("%s = %q, want %q", command, got, want)
		}
	}
	s.systemIsWhole()
}

// systemIsWhole wants a system with no failed unit and control groups of its own.
func (s *system) systemIsWhole() {
	s.t.Helper()
	if got := s.command("systemctl is-system-running --wait"); got != "running" {
		s.t.Errorf("the system is %q, failed units:\n%s", got, s.command("systemctl --failed --no-legend --plain"))
	}
	if unified() {
		if got := s.command("cat /proc/1/cgroup"); got != "0::/init.scope" {
			s.t.Errorf("cgroup of the first process = %q, want 0::/init.scope", got)
		}
	}
}

// A system is a container that runs systemd, with a terminal on its console.
type system struct {
	*terminal
	id, state string
	path      string
}

// boot starts a system; it is removed at the end of the test.
func boot(t *testing.T) *system {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	path := runtimePath(t)
	id := fmt.Sprintf("tare-system-%d", os.Getpid())
	s := &system{id: id, path: path, state: filepath.Join(t.TempDir(), "state")}
	dir := bundle(t, id)
	t.Cleanup(func() { s.runtime("delete", "--force", id).Run() })
	s.terminal = start(t, path, "--root", s.state, "run", "--bundle", dir, id)
	return s
}

func (s *system) runtime(args ...string) *exec.Cmd {
	return exec.Command(s.path, append([]string{"--root", s.state}, args...)...)
}

// prompt is set after the login, so that it stands nowhere else.
const prompt = "tare-prompt> "

func (s *system) login() {
	s.t.Helper()
	s.expect("login: ", patience)
	s.send("root")
	s.expect("Password: ", patience)
	s.send("tare")
	s.expect("# ", patience)
	s.send("stty -echo; PS1='tare-'prompt'> '; TERM=dumb; bind 'set enable-bracketed-paste off'")
	s.expect(prompt, patience)
}

// command types a command and returns what it printed before the next prompt.
func (s *system) command(line string) string {
	s.t.Helper()
	s.send(line)
	if strings.HasPrefix(line, "systemctl reboot") || strings.HasPrefix(line, "systemctl poweroff") {
		return ""
	}
	out := s.expect(prompt, patience)
	return strings.TrimSpace(strings.ReplaceAll(out, "\r", ""))
}

// gone wants nothing left of a container whose foreground runtime has ended.
func (s *system) gone() {
	s.t.Helper()
	if out, err := s.runtime("state", s.id).CombinedOutput(); err == nil {
		s.t.Errorf("state after the end = %s, want an error", out)
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/" + s.id)
	more, err2 := filepath.Glob("/sys/fs/cgroup/*/" + s.id)
	if groups = append(groups, more...); len(groups) > 0 || err != nil || err2 != nil {
		s.t.Errorf("control groups after the end: %q", groups)
	}
}

package enginetest

import (
	"strings"
	"testing"
	"time"
)

func TestRestartPolicies(t *testing.T) {
	d := newDevice(t)
	d.must("run", "-d", "--name", "twice", "--restart", "on-failure:2", "--network", "none", "box", "sh", "-c", "echo again; exit 1")
	d.eventually("twice is given up", func() bool { return d.state("twice") == "exited" })
	if got := d.must("logs", "twice"); got != "again\nagain\nagain" {
		t.Errorf("twice printed %q", got)
	}
	if got := d.must("inspect", "--format", "{{.RestartCount}} {{.State.ExitCode}}", "twice"); got != "2 1" {
		t.Errorf("twice: %s, want 2 1", got)
	}
	d.must("run", "-d", "--name", "good", "--restart", "on-failure", "--network", "none", "box", "true")
	d.eventually("good has ended", func() bool { return d.state("good") == "exited" })
	d.must("run", "-d", "--name", "always", "--restart", "always", "--network", "none", "box", "sh", "-c", "sleep 0.05")
	d.eventually("always was started again", func() bool {
		return d.must("inspect", "--format", "{{.RestartCount}}", "always") >= "2"
	})
	d.must("stop", "-t", "0", "always")
	time.Sleep(300 * time.Millisecond)
	if got := d.state("always"); got != "exited" {
		t.Errorf("always is %s after a stop", got)
	}
	d.must("run", "-d", "--name", "killed", "--restart", "always", "--network", "none", "box", "sleep", "1000")
	d.must("exec", "killed", "sh", "-c", "kill -TERM 1; exit 0") // sleep has no handler: it stays
	d.must("kill", "killed")
	if got := d.state("killed"); got != "exited" {
		t.Errorf("killed is %s", got)
	}
	d.must("update", "--restart", "no", "killed")
	d.must("rm", "-f", "twice", "good", "always", "killed")
	d.clean()
}

// TestRebootRestartsTheContainer: a container that may reboot the machine restarts itself.
func TestRebootRestartsTheContainer(t *testing.T) {
	d := newDevice(t)
	d.must("run", "-d", "--name", "system", "--cap-add", "SYS_BOOT", "--network", "none", "box",
		"sh", "-c", "echo up; test -e /tmp/second || { touch /tmp/second; reboot -f; }; sleep 1000")
	d.eventually("it is up again", func() bool { return d.must("logs", "system") == "up\nup" && d.state("system") == "running" })
	d.must("rm", "-f", "system")
	d.clean()
}

func TestHealth(t *testing.T) {
	d := newDevice(t)
	d.must("run", "-d", "--name", "health", "--network", "none", "--health-cmd", "test -e /tmp/ok", "--health-interval", "100ms",
		"--health-retries", "2", "box", "sleep", "1000")
	status := func() string { return d.must("inspect", "--format", "{{.State.Health.Status}}", "health") }
	d.eventually("it is unhealthy", func() bool { return status() == "unhealthy" })
	d.must("exec", "health", "touch", "/tmp/ok")
	d.eventually("it is healthy", func() bool { return status() == "healthy" })
	d.kill()
	d.must("exec", "health", "rm", "/tmp/ok")
	d.eventually("the next engine finds it unhealthy", func() bool { return status() == "unhealthy" })
	if got := d.must("ps", "--filter", "health=unhealthy", "--format", "{{.Names}} {{.Status}}"); !strings.HasSuffix(got, "(unhealthy)") {
		t.Errorf("ps says %q", got)
	}
	d.must("rm", "-f", "health")
	d.clean()
}

func TestEvents(t *testing.T) {
	d := newDevice(t)
	d.must("run", "--rm", "--name", "seen", "--label", "l=1", "--network", "none", "box", "true")
	got := d.must("events", "--since", "1m", "--until", time.Now().Add(time.Second).Format(time.RFC3339Nano), "--filter", "type=container", "--filter", "label=l=1", "--format", "{{.Action}}")
	if want := "create\nattach\nstart\ndie\ndestroy"; got != want {
		t.Errorf("events: %q, want %q", got, want)
	}
	d.clean()
}

package enginetest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// onTerminal runs docker on a terminal of 33 lines and 77 columns.
func (d *device) onTerminal(args ...string) result {
	d.t.Helper()
	docker := d.client(args...)
	cmd := exec.Command("script", "-qec", "stty rows 33 cols 77; exec "+strings.Join(docker.Args, " "), "/dev/null")
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+d.dir, "DOCKER_CLI_HINTS=false")
	return finish(d.t, cmd, "")
}

// TestTerminals: a terminal has the size of its client's, and its program's status comes back.
func TestTerminals(t *testing.T) {
	d := newDevice(t)
	d.must("run", "-d", "--name", "host", "--network", "none", "box", "sleep", "1000")
	for _, line := range [][]string{
		{"run", "--rm", "-it", "--network", "none", "box"},
		{"exec", "-it", "host"},
	} {
		// The size comes by a request of its own after the start.
		r := d.onTerminal(append(line, "sh", "-c", "'sleep 0.5; stty size; tty; exit 6'")...)
		if want := "33 77\n/dev/pts/0"; !strings.Contains(r.out, want) || r.code != 6 {
			t.Errorf("docker %s: printed %q, exit status %d, want %q and 6", strings.Join(line, " "), r.out, r.code, want)
		}
	}
	d.must("rm", "-f", "host")
	d.clean()
}

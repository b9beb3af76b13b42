package enginetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const composeFile = `version: "2.4"
services:
  db:
    image: box
    command: httpd -f -p 80 -h /etc
    healthcheck: {test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1/passwd"], interval: 200ms}
    volumes: ["data:/data"]
  web:
    image: box
    command: sh -c "wget -q -O - http://db/passwd; sleep 1000"
    depends_on: {db: {condition: service_healthy}}
    environment: [A=1]
volumes: {data: }
`

// TestCompose drives the daemon with docker-compose 1.29, which is Python.
func TestCompose(t *testing.T) {
	path, err := exec.LookPath("docker-compose")
	if err != nil {
		t.Skip("docker-compose is not installed")
	}
	d := newDevice(t)
	dir := filepath.Join(d.dir, "project")
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "docker-compose.yml"), []byte(composeFile), 0o644))
	compose := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(path, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+d.run+"/tare.sock", "DOCKER_CONFIG="+d.dir)
		r := finish(t, cmd, "")
		if r.code != 0 {
			t.Fatalf("docker-compose %s: exit status %d\n%s\n%s", strings.Join(args, " "), r.code, r.out, r.err)
		}
		return r.out
	}
	compose("up", "--detach")
	d.eventually("web has reached db by its name", func() bool { return strings.Contains(compose("logs", "--no-color"), "root:x:0:0") })
	if got := compose("exec", "-T", "web", "sh", "-c", "echo $A"); got != "1" {
		t.Errorf("exec printed %q", got)
	}
	d.kill()
	if got := compose("ps", "--services", "--filter", "status=running"); len(strings.Fields(got)) != 2 {
		t.Errorf("running: %q", got)
	}
	compose("up", "--detach") // changes nothing: the hash of the configuration is found again
	compose("restart", "--timeout", "0", "web")
	compose("down", "--volumes", "--timeout", "0")
	if got := d.must("volume", "ls", "--quiet"); got != "" {
		t.Errorf("volumes: %s", got)
	}
	d.clean()
}

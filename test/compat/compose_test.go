package compat

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// project is three services that need each other.
const project = `
version: "3.8"
services:
  db:
    image: busybox:1
    command: sh -c 'test -f /data/rows || echo rows >/data/rows; echo database is up; trap "exit 0" TERM; while true; do nc -l -p 5432 -e cat /data/rows; done'
    volumes: ["data:/data"]
    healthcheck: {test: ["CMD", "test", "-f", "/data/rows"], interval: 1s}
    restart: unless-stopped
    labels: {role: database}
  web:
    image: busybox:1
    command: sh -c 'mkdir -p /www; echo "page in $$COLOUR" >/www/index.html; exec httpd -f -p 80 -h /www'
    ports: ["18090:80"]
    depends_on: [db]
    environment: {COLOUR: blue}
    networks: {default: {aliases: [front]}, back: {}}
    mem_limit: 32m
    restart: always
    stop_signal: SIGKILL
  worker:
    image: busybox:1
    command: sh -c 'trap "exit 0" TERM; while true; do wget -q -O- http://front/ && nc db 5432 </dev/null; sleep 1; done'
    depends_on: [web, db]
networks: {back: {internal: true}}
volumes: {data: {}}
`

func TestDockerComposeOf2021(t *testing.T) {
	composes(t, need(t, "docker-compose"))
}

// TestDockerComposeOfToday builds it from its own module: the newest whose modules can all be fetched.
func TestDockerComposeOfToday(t *testing.T) {
	composes(t, built(t, "compose5", "github.com/docker/compose/v5/cmd"))
}

// built builds a client from the module of its own below this directory.
func built(t *testing.T, module, tool string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("a minute's build is not for -short")
	}
	need(t, "go")
	program := filepath.Join(scratch, module)
	cmd := exec.Command("go", "build", "-o", program, tool)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", tool, err, out)
	}
	return program
}

// composes leads a project through its life.
func composes(t *testing.T, client string) {
	e := start(t)
	dir := filepath.Join(filepath.Dir(e.root), "shop")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "docker-compose.yml"), []byte(project), 0o600); err != nil {
		t.Fatal(err)
	}
	client += " -f " + filepath.Join(dir, "docker-compose.yml")
	e.steps(client, []step{
		{args: "up -d"},
		{args: "ps", want: []string{"db", "web", "worker", "18090->80/tcp"}},
		{args: "ps -q web"},
		{args: "up -d", never: []string{"Recreat"}}, // nothing has changed
	})
	e.wait("the worker gets both answers", func() bool {
		out := e.output(append(split(client), "logs", "--no-color", "worker")...)
		return strings.Contains(out, "page in blue") && strings.Contains(out, "rows")
	})
	e.steps(client, []step{
		{args: "logs --no-color --tail=1 db", want: []string{"database is up"}},
		{args: "exec -T web sh -c 'echo $COLOUR; exit 7'", status: 7, want: []string{"blue"}},
		{args: "run --rm -T worker echo once", want: []string{"once"}},
		{args: "top web", want: []string{"httpd"}},
		{args: "restart -t 1 web"},
		{args: "pause worker"},
		{args: "unpause worker"},
		{args: "stop -t 5"},
		{args: "ps -a", want: []string{"Exit"}},
		{args: "start"},
		{args: "kill -s KILL worker"},
		{args: "rm -f worker"},
		{args: "up -d --scale worker=2"},
	})
	if page := e.must("", "wget", "-q", "-O-", "http://127.0.0.1:18090/"); page != "page in blue" {
		t.Errorf("the published page is %q", page)
	}
	e.steps(client, []step{
		{args: "config --services", want: []string{"db"}},
		{args: "down -t 1", want: []string{"shop_default"}},
	})
	if left := e.must("", "tare", "volume", "ls", "-q"); left != "shop_data" {
		t.Errorf("after down the volumes are %q", left)
	}
	e.steps(client, []step{{args: "down -v"}})
	for _, list := range []string{"ps -aq", "volume ls -q"} {
		if left := e.must("", split("tare "+list)...); left != "" {
			t.Errorf("down -v leaves, by tare %s: %s", list, left)
		}
	}
	if nets := e.must("", "tare", "network", "ls", "-q"); len(strings.Fields(nets)) != 3 {
		t.Errorf("down -v leaves networks: %s", nets)
	}
}

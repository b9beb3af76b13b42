package runtimecli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/internal/container"
)

func TestVerbsReachTheContainer(t *testing.T) {
	g := newStage()
	g.line(t, "create web -b /b")
	g.line(t, "start web")
	g.line(t, "pause web")
	g.line(t, "resume web")
	g.line(t, "kill web")
	g.line(t, "kill --all web sigkill")
	g.line(t, "kill -a web RTMIN+3")
	g.boxes["web"].state.Status = specs.StateStopped
	g.line(t, "delete web")
	g.wantCalls(t, "create web", "start web", "pause web", "resume web",
		"signal web 15 false", "signal web 9 true", "signal web 37 true", "delete web false")
}

func TestCreateOptions(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	g := newStage()
	g.line(t, "--root "+dir+"/r --rootless=true --systemd-cgroup create --bundle b --pid-file p --console-socket s "+
		"--pidfd-socket q --no-pivot --no-new-keyring --no-subreaper web")
	o := g.created
	if o.Bundle != dir+"/b" || o.PidFile != dir+"/p" || o.ConsoleSocket != "s" || o.PidfdSocket != "q" ||
		!o.NoPivot || !o.NoNewKeyring || !o.SystemdCgroup || o.Rootless != container.Yes || o.Warn == nil {
		t.Errorf("options %+v", o)
	}
	if o.Console != nil {
		t.Error("a created container has no terminal of the caller's")
	}
	if g.root != dir+"/r" {
		t.Errorf("root %s", g.root)
	}
	g.line(t, "--rootless false --cgroup-manager cgroupfs --systemd-cgroup create two")
	if o := g.created; o.Bundle != dir || o.PidFile != "" || o.SystemdCgroup || o.Rootless != container.No {
		t.Errorf("options %+v", o)
	}
	g.line(t, "--cgroup-manager systemd create three")
	if o := g.created; !o.SystemdCgroup || o.Rootless != container.Auto {
		t.Errorf("options %+v", o)
	}
}

func TestDefaultRoot(t *testing.T) {
	g := newStage()
	g.line(t, "list")
	if g.root != "/run/tare/runtime" {
		t.Errorf("root %q", g.root)
	}
	if os.Geteuid() == 0 && isHostRoot() {
		// The host's root keeps its containers in one place, from wherever it logs in.
		g.env["XDG_RUNTIME_DIR"] = "/run/user/0"
		g.line(t, "list")
		if g.root != "/run/tare/runtime" {
			t.Errorf("root %q", g.root)
		}
	}
}

func TestRefusals(t *testing.T) {
	g := newStage()
	newBox(g.fakeStore, "up", specs.StateRunning)
	newBox(g.fakeStore, "down", specs.StateStopped)
	long := strings.Repeat("x", 1025)
	for line, want := range map[string]struct {
		status int
		errs   string
	}{
		"--root / list":                          {1, "--root /: / cannot hold"},
		"--root . create a/b":                    {1, `invalid container id "a/b"`},
		"create ..":                              {1, `invalid container id ".."`},
		"create " + long:                         {1, "container id of 1025 bytes"},
		"create a b":                             {2, "too many arguments: want ID"},
		"create":                                 {2, "missing argument: want ID"},
		"create --preserve-fds 900 a":            {1, "--preserve-fds 900: descriptor"},
		"create --preserve-fds=-1 a":             {1, "--preserve-fds -1: want 0 or more"},
		"--rootless maybe create a":              {1, "--rootless maybe: want true, false or auto"},
		"--cgroup-manager disabled create a":     {1, "a container without control groups is not supported"},
		"--cgroup-manager x create a":            {1, "--cgroup-manager x: want cgroupfs or systemd"},
		"--log-format xml list":                  {2, `flag --log-format: bad value "xml": want text or json`},
		"run --console-socket s a":               {1, "--console-socket needs --detach"},
		"state none":                             {1, "load none: container does not exist"},
		"kill up SIGFOO":                         {1, `unknown signal "SIGFOO"`},
		"kill up 65":                             {1, "signal 65: want 0 to 64"},
		"kill down":                              {1, "kill down: container not running"},
		"delete up":                              {1, "delete up: container is not stopped"},
		"delete none":                            {1, "load none: container does not exist"},
		"delete --force a/b":                     {1, `invalid container id "a/b"`},
		"checkpoint up --image-path /x --weird":  {1, "checkpoint: this runtime cannot save and restore processes"},
		"restore up":                             {1, "restore: this runtime cannot"},
		"exec up":                                {255, "missing argument: want ID COMMAND"},
		"exec none ls":                           {255, "load none: container does not exist"},
		"exec --detach --tty up ls":              {255, "cannot allocate a terminal for a detached process without --console-socket"},
		"exec --detach --console-socket s up ls": {255, "--console-socket needs a process with a terminal"},
		"exec -t --console-socket s up ls":       {255, "--console-socket needs --detach"},
		"exec --user root up ls":                 {255, `--user: bad id "root"`},
		"exec --user 1:4294967295 up ls":         {255, `--user: bad id "4294967295"`},
		"exec -g -1 up ls":                       {255, `--additional-gids: bad id "-1"`},
		"exec --cwd etc up ls":                   {255, "process.cwd etc: want an absolute path"},
		"exec -p p.json up ls":                   {255, "--process and a command exclude each other"},
		"exec -p /nonexistent up":                {255, "--process: open /nonexistent: no such file"},
		"exec --cgroup a --cgroup b up ls":       {2, "flag --cgroup: bad value \"b\": given twice"},
		"ps --format yaml up":                    {2, "--format yaml: want table or json"},
		"list --format yaml":                     {2, "--format yaml: want table or json"},
		"events --interval 0s up":                {2, "--interval 0s: want more than 0"},
		"events down":                            {1, "container down is not running"},
		"stats down":                             {1, "container down is not running"},
		"update --memory lots up":                {2, `flag --memory: bad value "lots": want a number of bytes`},
		"update --cpu-quota x up":                {2, `flag --cpu-quota: bad value "x"`},
		"update --l3-cache-schema L3:0=f up":     {1, "update of resctrl schemas is not supported"},
		"update -r /nonexistent up":              {1, "--resources: open /nonexistent: no such file"},
		"wait down":                              {1, "wait for down: its exit status is not known"},
	} {
		status, out, errs := g.run(strings.Fields(line)...)
		if status != want.status || out != "" || !strings.HasPrefix(errs, "tare: ") || !strings.Contains(errs, want.errs) {
			t.Errorf("%.60s: status %d, stdout %q, stderr %q, want %d %q", line, status, out, errs, want.status, want.errs)
		}
	}
}

func TestWhatIsGoneIsNoErrorByForce(t *testing.T) {
	g := newStage()
	g.line(t, "delete --force none")
	g.line(t, "delete none --force")
	newBox(g.fakeStore, "down", specs.StateStopped)
	g.line(t, "kill --all down KILL")
}

func TestVersionIsUnderstoodByEngines(t *testing.T) {
	for _, flag := range []string{"--version", "-v"} {
		out := newStage().line(t, flag)
		lines := strings.Split(out, "\n")
		// What dockerd's parseRuntimeVersion takes.
		if lines[0] != "tare-runtime version 1.2.3" || lines[1] != "commit: abc" || lines[2] != "spec: 1.3.0" {
			t.Errorf("%s prints %q", flag, out)
		}
		if strings.Count(out, "version") != 1 {
			t.Errorf("a second line with the word version would be taken for it: %q", out)
		}
	}
}

func TestState(t *testing.T) {
	g := newStage()
	b := newBox(g.fakeStore, "web", specs.StateRunning)
	b.state.Annotations = map[string]string{"a": "<b>"}
	want := `{
  "ociVersion": "1.3.0",
  "id": "web",
  "pid": 4711,
  "status": "running",
  "bundle": "/b/web",
  "rootfs": "/b/web/rootfs",
  "created": "2026-01-02T03:04:05.0000006Z",
  "annotations": {
    "a": "<b>"
  },
  "owner": "root"
}
`
	if out := g.line(t, "state web"); out != want {
		t.Errorf("got %s", out)
	}
	three := 3
	b.state.Status, b.state.ExitStatus = specs.StateStopped, &three
	out := g.line(t, "state web")
	if !strings.Contains(out, `"pid": 0,`) || !strings.Contains(out, `"exitStatus": 3`) {
		t.Errorf("stopped: %s", out)
	}
}

func TestList(t *testing.T) {
	g := newStage()
	if out := g.line(t, "list -f json"); out != "[]\n" {
		t.Errorf("no containers: %q", out)
	}
	for i, id := range []string{"late", "early", "middle"} {
		b := newBox(g.fakeStore, id, specs.StateRunning)
		b.state.Created = b.state.Created.AddDate(0, 0, []int{3, 1, 2}[i])
	}
	if out := g.line(t, "list -q"); out != "early\nmiddle\nlate\n" {
		t.Errorf("order: %q", out)
	}
	want := "ID          PID         STATUS      BUNDLE      CREATED                        OWNER\n" +
		"early       4711        running     /b/early    2026-01-03T03:04:05.0000006Z   root\n"
	if out := g.line(t, "list"); !strings.HasPrefix(out, want) {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	if out := g.line(t, "list --format=json"); !strings.HasPrefix(out, `[{"ociVersion":"1.3.0","id":"early","pid":4711,`) {
		t.Errorf("got %s", out)
	}
	g.bad = []error{fmt.Errorf("load broken: %w", errBoom)}
	status, out, errs := g.run("list", "-q")
	if status != 0 || out != "early\nmiddle\nlate\n" || errs != "tare: warning: load broken: boom\n" {
		t.Errorf("one broken container: %d %q %q", status, out, errs)
	}
	g.unlisted = errBoom
	if status, out, errs := g.run("list"); status != 1 || out != "" || !strings.HasSuffix(errs, "tare: boom\n") {
		t.Errorf("a root that cannot be read: %d %q %q", status, out, errs)
	}
}

func TestPs(t *testing.T) {
	g := newStage()
	b := newBox(g.fakeStore, "web", specs.StateRunning)
	if out := g.line(t, "ps --format json web"); out != "[]\n" {
		t.Errorf("no processes: %q", out)
	}
	b.pids = []int{30, 4}
	if out := g.line(t, "ps -f json web"); out != "[4,30]\n" {
		t.Errorf("json: %q", out)
	}
	b.pids = []int{os.Getpid()}
	out := g.line(t, "ps web")
	if lines := strings.Split(out, "\n"); len(lines) != 3 || !strings.Contains(lines[1], fmt.Sprint(os.Getpid())) {
		t.Errorf("table: %q", out)
	}
	t.Setenv("PATH", t.TempDir())
	if out := g.line(t, "ps web"); !strings.HasPrefix(out, "UID ") || !strings.Contains(out, fmt.Sprint(os.Getpid())) {
		t.Errorf("table without a ps program: %q", out)
	}
	if status, _, errs := g.run("ps", "web", "-o", "pid"); status != 1 || !strings.Contains(errs, "ps -o pid: ") {
		t.Errorf("options without a ps program: %d %q", status, errs)
	}
}

func TestFilterPS(t *testing.T) {
	out := "UID PID PPID CMD\nroot 1 0 init\nroot 12 1 sh -c 34\nroot 34 1 [kworker 12]\n\n"
	got, err := filterPS(out, []int{12, 99})
	if want := "UID PID PPID CMD\nroot 12 1 sh -c 34\n"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := filterPS("USER CMD\nroot sh\n", nil); err == nil {
		t.Error("no PID column, no error")
	}
}

func TestRunPassesTheStatusOn(t *testing.T) {
	g := newStage()
	g.process.status = 7
	if status, _, errs := g.run("run", "web"); status != 7 || errs != "" {
		t.Errorf("status %d, stderr %q", status, errs)
	}
	g.wantCalls(t, "run web", "delete web true")
	if status, _, _ := g.run("run", "--keep", "web"); status != 7 {
		t.Errorf("status %d", status)
	}
	g.wantCalls(t, "run web")
	if g.created.Console == nil {
		t.Error("nobody takes the terminal")
	}
	g.line(t, "run --detach other")
	g.wantCalls(t, "run other")
	if g.created.Console != nil {
		t.Error("a detached container has no terminal of the caller's")
	}
	g.fail = fmt.Errorf("create web: %w", errBoom)
	if status, _, errs := g.run("run", "web"); status != 1 || errs != "tare: create web: boom\n" {
		t.Errorf("status %d, stderr %q", status, errs)
	}
}

func TestRunTellsOfAFailedCleanUp(t *testing.T) {
	g := newStage()
	g.process.status = 3
	g.process.wait = func() { g.boxes["web"].err = fmt.Errorf("delete web: %w", errBoom) }
	if status, _, errs := g.run("run", "web"); status != 3 || errs != "tare: delete web: boom\n" {
		t.Errorf("status %d, stderr %q", status, errs)
	}
}

func TestEvents(t *testing.T) {
	g := newStage()
	b := newBox(g.fakeStore, "web", specs.StateRunning)
	b.oom <- struct{}{}
	close(b.oom)
	if out := g.line(t, "events web"); out != `{"type":"oom","id":"web"}`+"\n" {
		t.Errorf("got %q", out)
	}
	for _, line := range []string{"events --stats web", "stats web"} {
		if out := g.line(t, line); !strings.HasPrefix(out, `{"type":"stats","id":"web","data":{"cpu":{`) {
			t.Errorf("%s: %q", line, out)
		}
	}
}

func TestSpecIsNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	g := newStage()
	g.line(t, "spec --bundle "+dir)
	before, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	status, _, errs := g.run("spec", "-b", dir, "--rootless")
	if status != 1 || !strings.Contains(errs, "config.json exists") {
		t.Errorf("status %d, stderr %q", status, errs)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, "config.json")); string(after) != string(before) {
		t.Error("overwritten")
	}
}

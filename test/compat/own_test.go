package compat

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// pid is a container's process.
func (e *engine) pid(name string) int {
	e.Helper()
	var all []struct{ State struct{ Pid int } }
	if err := json.Unmarshal([]byte(e.must("", "tare", "inspect", name)), &all); err != nil || len(all) != 1 {
		e.Fatal(all, err)
	}
	return all[0].State.Pid
}

// TestAProgramIsReplacedUnderItsContainers: same processes, and no line of output lost or twice.
func TestAProgramIsReplacedUnderItsContainers(t *testing.T) {
	e := start(t)
	e.must("", "tare", "run", "-d", "--name", "count", "--network", "none", "busybox:1", "sh", "-c", "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done")
	e.wait("it counts", func() bool { return e.output("tare", "logs", "--tail", "1", "count") != "" })
	before := e.pid("count")
	text, err := os.ReadFile(e.tare)
	if err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(filepath.Dir(e.root), "tare-next")
	if err := os.WriteFile(next, text, 0o755); err != nil {
		t.Fatal(err)
	}
	e.must("", "tare", "daemon", "upgrade", next)
	if out, status := e.do("", "", "tare", "daemon", "upgrade", "/bin/true"); status == 0 || !strings.Contains(out, "did not come up") {
		t.Errorf("upgrade to what is no engine: status %d, %s", status, out)
	}
	if after := e.pid("count"); after != before {
		t.Errorf("its process was %d, and is %d", before, after)
	}
	last := 0
	for line := range strings.Lines(e.must("", "tare", "logs", "count")) {
		n, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || n != last+1 {
			t.Fatalf("after %d comes %q", last, line)
		}
		last = n
	}
	if last < 20 {
		t.Errorf("it counted to %d only", last)
	}
}

func TestWhyTellsTheRule(t *testing.T) {
	e := start(t)
	e.must("", "tare", "run", "-d", "--name", "crash", "--restart", "on-failure:1", "--network", "none", "busybox:1", "sh", "-c", "exit 3")
	e.must("", "tare", "run", "-d", "--name", "hog", "-m", "8m", "--network", "none", "busybox:1", "sh", "-c", "a=x; while :; do a=$a$a$a; done")
	e.must("", "tare", "run", "-d", "--name", "stopped", "--restart", "unless-stopped", "--network", "none", "busybox:1", "sleep", "1000")
	e.must("", "tare", "stop", "-t", "0", "stopped")
	e.wait("both have ended", func() bool {
		return strings.Count(e.output("tare", "ps", "-a"), "Exited") == 3
	})
	e.steps("tare", []step{
		{args: "why crash", want: []string{"is exited with status 3", "is parked", "failed 2 times in a row", "is to be started again in 100ms", "by itself", "created"}},
		{args: "why hog", want: []string{"all of its memory, 8 MiB"}},
		{args: "why stopped", want: []string{"stopped by request", "a client asked for its end"}},
		{args: "why nobody", status: 1, want: []string{"nobody"}},
	})
	var all []struct{ Time, What, Why string }
	if err := json.Unmarshal([]byte(e.must("", "tare", "why", "--json", "crash")), &all); err != nil || len(all) < 5 {
		t.Errorf("why --json: %v, %v", all, err)
	}
}

func TestMetricsAreThere(t *testing.T) {
	e := start(t)
	e.must("", "tare", "run", "-d", "--name", "one", "-m", "16m", "--network", "none", "busybox:1", "sleep", "1000")
	out := e.must("", "curl", "-sS", "--unix-socket", e.socket(), "http://engine/metrics")
	for _, want := range []string{
		`tare_container_running{name="one",image="busybox:1"} 1`, `tare_container_cpu_seconds_total{name="one"`,
		`tare_container_memory_limit_bytes{name="one",image="busybox:1"} 1.6777216e+07`, `tare_container_processes{name="one",image="busybox:1"} 1`, "# EOF",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestFlashTellsWhoWrote(t *testing.T) {
	e := start(t)
	e.must("", "tare", "run", "-d", "--name", "one", "--network", "none", "busybox:1", "sleep", "1000")
	out, status := e.do("", "", "tare", "flash", "--json")
	if strings.Contains(out, "no block device is under it") {
		t.Skip("needs a disk")
	}
	if status != 0 {
		t.Fatal(out)
	}
	var r struct {
		Written int64 `json:"writtenBytes"`
		Causes  []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Written <= 0 || len(r.Causes) != 4 || r.Causes[0].Name != "one" {
		t.Errorf("flash --json: %s, %v", out, err)
	}
}

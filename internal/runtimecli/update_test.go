package runtimecli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestUpdateFromFlags(t *testing.T) {
	for flags, want := range map[string]string{
		"":                             `{}`,
		"--memory 64m":                 `{"memory":{"limit":67108864}}`,
		"--memory -1":                  `{"memory":{"limit":-1,"swap":-1}}`,
		"--memory -1 --memory-swap 0":  `{"memory":{"limit":-1,"swap":0}}`,
		"--memory-swap=1g":             `{"memory":{"swap":1073741824}}`,
		"--memory-reservation 1.5k":    `{"memory":{"reservation":1536}}`,
		"--kernel-memory 1k":           `{"memory":{"kernel":1024}}`,
		"--kernel-memory-tcp 1k":       `{"memory":{"kernelTCP":1024}}`,
		"--cpu-period 100000":          `{"cpu":{"period":100000}}`,
		"--cpu-quota -1":               `{"cpu":{"quota":-1}}`,
		"--cpu-burst 5 --cpu-share 6":  `{"cpu":{"shares":6,"burst":5}}`,
		"--cpu-rt-period 1":            `{"cpu":{"realtimePeriod":1}}`,
		"--cpu-rt-runtime 2":           `{"cpu":{"realtimeRuntime":2}}`,
		"--cpuset-cpus 0-1":            `{"cpu":{"cpus":"0-1"}}`,
		"--cpuset-mems 0":              `{"cpu":{"mems":"0"}}`,
		"--cpu-idle 1":                 `{"cpu":{"idle":1}}`,
		"--pids-limit 20":              `{"pids":{"limit":20}}`,
		"--pids-limit -1":              `{"pids":{"limit":-1}}`,
		"--blkio-weight 500":           `{"blockIO":{"weight":500}}`,
		"--pids-limit 1 --cpu-share 2": `{"cpu":{"shares":2},"pids":{"limit":1}}`,
	} {
		g := newStage()
		b := newBox(g.fakeStore, "web", specs.StateRunning)
		g.line(t, "update "+flags+" web")
		if got, _ := json.Marshal(b.updated); string(got) != want {
			t.Errorf("update %s: got %s, want %s", flags, got, want)
		}
	}
}

func TestUpdateFromJSON(t *testing.T) {
	const text = `{"memory":{"limit":-1},"cpu":{"quota":5},"unified":{"memory.high":"9"}}`
	const want = `{"memory":{"limit":-1,"swap":-1},"cpu":{"quota":5},"unified":{"memory.high":"9"}}`
	file := filepath.Join(t.TempDir(), "r.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, flags := range []string{"--resources -", "--resources=-", "-r -", "--resources " + file, "-r " + file + " --memory 5"} {
		g := newStage()
		g.in = strings.NewReader(text)
		b := newBox(g.fakeStore, "web", specs.StateRunning)
		g.line(t, "update "+flags+" web")
		if got, _ := json.Marshal(b.updated); string(got) != want {
			t.Errorf("update %s: got %s, want %s", flags, got, want)
		}
	}
	g := newStage()
	g.in = strings.NewReader("{")
	newBox(g.fakeStore, "web", specs.StateRunning)
	if status, _, errs := g.run("update", "-r", "-", "web"); status != 1 || !strings.Contains(errs, "read standard input") {
		t.Errorf("status %d, stderr %q", status, errs)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"-1": -1, "0": 0, "1": 1, "1024": 1024, "1b": 1, "1k": 1 << 10, "1K": 1 << 10, "1kb": 1 << 10, "1KiB": 1 << 10,
		"3m": 3 << 20, "0.5g": 1 << 29, "2T": 2 << 40, "1 mb": 1 << 20, "9007199254740993": 9007199254740993,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-2", "k", "1x", "1kk", "1bk", "1ib2", "9999999p", "NaN", "0x10", "1e999", "bad"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", text, got)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]int{
		"9": 9, "0": 0, "64": 64, "KILL": 9, "SIGKILL": 9, "sigterm": 15, "hup": 1, "WINCH": 28,
		"RTMIN": 34, "SIGRTMIN+3": 37, "rtmax": 64, "RTMAX-1": 63,
	} {
		if got, err := parseSignal(text); err != nil || int(got) != want {
			t.Errorf("parseSignal(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "65", "-1", "SIG", "FOO", "RTMIN-1", "RTMIN3", "RTMAX+1", "RTMIN+x", "RTMIN+31"} {
		if got, err := parseSignal(text); err == nil {
			t.Errorf("parseSignal(%q) = %d, want an error", text, got)
		}
	}
}

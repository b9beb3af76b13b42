package runtimecli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestErrorsInTheLog(t *testing.T) {
	const text = `time="2026-01-02T03:04:05Z" level=error msg="load none: container does not exist"` + "\n"
	const asJSON = `{"level":"error","msg":"load none: container does not exist","time":"2026-01-02T03:04:05Z"}` + "\n"
	const plain = "load none: container does not exist\n"
	for _, tc := range []struct {
		name, flags  string
		log, onError string
	}{
		{"tare", "", "", "tare: " + plain},
		{"tare", "--log LOG", text, "tare: " + plain},
		{"tare", "--log LOG --log-format text", text, "tare: " + plain},
		{"tare", "--log LOG --log-format json", asJSON, "tare: " + plain},
		{"tare", "--log-format json", "", asJSON},
		{"runc", "", "", text},
		{"runc", "--log-format json", "", asJSON},
		{"runc", "--log LOG --log-format json", asJSON, plain},
		{"crun", "--log LOG", text, plain},
	} {
		path := filepath.Join(t.TempDir(), "log")
		g := newStage()
		g.name = tc.name
		line := strings.ReplaceAll(tc.flags, "LOG", path) + " start none"
		status, _, errs := g.run(strings.Fields(line)...)
		log, _ := os.ReadFile(path)
		if status != 1 || errs != tc.onError || string(log) != tc.log {
			t.Errorf("%s %s: status %d\nstderr %q, want %q\nlog %q, want %q", tc.name, tc.flags, status, errs, tc.onError, log, tc.log)
		}
	}
}

func TestUsageErrorsAreLoggedToo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	newStage().run("--log", path, "--log-format", "json", "create", "--no-such-flag", "web")
	log, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(log), "unknown flag --no-such-flag") {
		t.Errorf("log %q, %v", log, err)
	}
}

func TestLogIsAppendedTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for range 2 {
		newStage().run("--log", path, "start", "none")
	}
	log, _ := os.ReadFile(path)
	if strings.Count(string(log), "\n") != 2 {
		t.Errorf("log %q", log)
	}
}

func TestNoMessageIsLostWithTheLog(t *testing.T) {
	for name, path := range map[string]string{
		"cannot be opened":  "/nonexistent/log",
		"cannot be written": "/dev/full",
	} {
		for _, program := range []string{"tare", "runc"} {
			g := newStage()
			g.name = program
			status, _, errs := g.run("--log", path, "--log-format", "json", "--debug", "start", "none")
			for _, want := range []string{path, "load none: container does not exist", "debug: containers are below"} {
				if status != 1 || !strings.Contains(errs, want) {
					t.Errorf("%s, %s: status %d, stderr %q, want %q", name, program, status, errs, want)
				}
			}
		}
	}
}

func TestAWorkingCommandMakesNoLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	newStage().line(t, "--log "+path+" list")
	if _, err := os.Stat(path); err == nil {
		t.Error("an empty log was made")
	}
	newStage().line(t, "--log "+path+" --debug list")
	if log, _ := os.ReadFile(path); !strings.Contains(string(log), "level=debug") {
		t.Errorf("log %q", log)
	}
}

// A message must stay one line, and valid JSON, whatever a file is called.
func TestMessagesStayOneLine(t *testing.T) {
	for _, msg := range []string{"a\nb", "quo\"te", "\x1b[31m", "\xff\xfe", "<&>"} {
		l := logger{format: "json", now: time.Now}
		line := l.line("error", msg)
		var v struct{ Level, Msg, Time string }
		if err := json.Unmarshal([]byte(line), &v); err != nil || strings.Count(line, "\n") != 1 || v.Level != "error" {
			t.Errorf("%q: %q, %v", msg, line, err)
		}
		if _, err := time.Parse(time.RFC3339, v.Time); err != nil {
			t.Errorf("%q: %v", msg, err)
		}
		l.format = "text"
		if line := l.line("error", msg); strings.Count(line, "\n") != 1 || strings.Contains(line, "\x1b") {
			t.Errorf("%q: %q", msg, line)
		}
	}
}

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets the test binary stand in for the program: called by another name
// than its own it is the program under that name.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); !strings.HasSuffix(name, ".test") {
		os.Exit(run(name, os.Args[1:]))
	}
	os.Exit(m.Run())
}

func call(t *testing.T, name string, args ...string) (out, errs string, status int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	var o, e strings.Builder
	cmd := exec.Command(link, args...)
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

func TestNameDecidesWhatItIs(t *testing.T) {
	for _, name := range []string{"runc", "crun", "tare-runtime"} {
		if out, errs, status := call(t, name, "--version"); status != 0 || !strings.HasPrefix(out, "tare-runtime version ") {
			t.Errorf("%s --version: %d %q %q", name, status, out, errs)
		}
		_, errs, status := call(t, name, "state", "--bad")
		if status != 2 || !strings.Contains(errs, " level=error msg=") || !strings.Contains(errs, name+" state --help") {
			t.Errorf("%s: %d %q", name, status, errs)
		}
	}
	for line, want := range map[string]string{
		"version":                "tare version ",
		"runtime --version":      "tare-runtime version ",
		"runtime":                "usage: tare runtime ",
		"help runtime run":       "usage: tare runtime run ",
		"":                       "usage: tare [flags] COMMAND",
		"__complete runtime kil": "kill\n",
	} {
		if out, errs, status := call(t, "tare", strings.Fields(line)...); status != 0 || !strings.HasPrefix(out, want) {
			t.Errorf("tare %s: %d %q %q", line, status, out, errs)
		}
	}
	if _, errs, status := call(t, "tare", "runn", "web"); status != 2 || !strings.HasPrefix(errs, "tare: unknown command") {
		t.Errorf("tare runn: %d %q", status, errs)
	}
}

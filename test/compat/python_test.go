package compat

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestEverydayCallsOfDockerPy runs them with Debian's library, and with another if this machine has one.
func TestEverydayCallsOfDockerPy(t *testing.T) {
	ran := map[string]bool{}
	for _, python := range []string{"/usr/bin/python3", need(t, "python3")} {
		version, err := exec.Command(python, "-c", "import docker; print(docker.__version__)").Output()
		if v := strings.TrimSpace(string(version)); err == nil && !ran[v] {
			ran[v] = true
			t.Run(v, func(t *testing.T) {
				e := start(t)
				if out := e.must("", python, "testdata/everyday.py"); !strings.HasSuffix(out, "ok") {
					t.Errorf("everyday.py prints %s", out)
				}
			})
		}
	}
	if len(ran) == 0 {
		t.Skip("python3-docker is not installed (see packages.txt)")
	}
}

// TestAnswersAreAsTheAPIDescribesThem compares them with the upstream OpenAPI file.
func TestAnswersAreAsTheAPIDescribesThem(t *testing.T) {
	need(t, "python3")
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import jsonschema, yaml").Run(); err != nil {
		t.Skip("python3-jsonschema and python3-yaml are not installed (see packages.txt)")
	}
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moby/moby/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	e := start(t)
	out := e.must("", python, "testdata/openapi.py", filepath.Join(strings.TrimSpace(string(dir)), "swagger.yaml"), e.socket())
	if out != "ok" {
		t.Errorf("answers are not as described:\n%s", out)
	}
}

// Package distribution starts registries for tests: CNCF distribution, of which most
// registries are made, as Debian has it (2.8) and as it is today (v3).
package distribution

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// A Version is one of the programs.
type Version int

// The versions.
const (
	V2 Version = 2 // Debian's docker-registry
	V3 Version = 3 // the module in v3, built with the first test that starts it
)

// A Registry listens until its test ends.
type Registry struct {
	Host string // "127.0.0.1:PORT"
	Dir  string // where it keeps images
}

// Config is what is added to the configuration of a registry, as YAML
// (https://distribution.github.io/distribution/about/configuration/).
type Config struct {
	HTTP string // lines of the section http, with two spaces before each
	More string // whole sections
}

// Start starts a registry. The test is skipped where Debian's is wanted and not installed.
func Start(t testing.TB, v Version, c Config) Registry {
	t.Helper()
	program, args := find(t, v)
	r := Registry{Host: freePort(t), Dir: t.TempDir()}
	text := fmt.Sprintf(`version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
http:
  addr: %s
%s
%s`, r.Dir, r.Host, c.HTTP, c.More)
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, append(args, config)...)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s: %s", program, text[max(0, len(text)-2000):])
		}
	})
	for range 500 {
		if c, err := net.Dial("tcp", r.Host); err == nil {
			c.Close()
			return r
		}
		time.Sleep(20 * time.Millisecond) // it does not tell when it listens
	}
	t.Fatalf("%s does not listen", program)
	return r
}

func find(t testing.TB, v Version) (program string, args []string) {
	t.Helper()
	if v == V2 {
		program, err := exec.LookPath("docker-registry")
		if err != nil {
			t.Skip("docker-registry is not installed (see packages.txt)")
		}
		return program, []string{"serve"}
	}
	_, file, _, _ := runtime.Caller(0)
	program = filepath.Join(t.TempDir(), "registry")
	cmd := exec.Command("go", "build", "-o", program, ".")
	cmd.Dir = filepath.Join(filepath.Dir(file), "v3")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build distribution v3: %v\n%s", err, out)
	}
	return program, nil
}

// freePort returns an address of this machine on which nothing listens.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

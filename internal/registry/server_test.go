package registry

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tare.dev/tare/internal/reference"
)

// A server is Debian's docker-registry (CNCF distribution 2.8), started for one test.
type server struct {
	host string // "127.0.0.1:PORT"
	dir  string // of its files
}

// startRegistry starts one with the settings of its http and auth sections, as YAML
// with two spaces before each line.
func startRegistry(t *testing.T, http, rest string) server {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("docker-registry is not installed (see packages.txt)")
	}
	s := server{host: freePort(t), dir: t.TempDir()}
	config := fmt.Sprintf(`version: 0.1
log: {level: error}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
http:
  addr: %s
%s
%s`, s.dir, s.host, http, rest)
	path := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(filepath.Dir(path), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", path)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
		if text, _ := os.ReadFile(log.Name()); t.Failed() && len(text) > 0 {
			t.Logf("docker-registry: %s", text[max(0, len(text)-2000):])
		}
	})
	for range 500 {
		if c, err := net.Dial("tcp", s.host); err == nil {
			c.Close()
			return s
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("docker-registry does not listen")
	return s
}

// freePort returns an address of this machine on which nothing listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// newClient returns a client of host/team/app that reads no file of this machine.
func newClient(t *testing.T, host string, o Options) *Client {
	t.Helper()
	if o.AuthFiles == nil {
		o.AuthFiles = []string{}
	}
	if o.CertDirs == nil {
		o.CertDirs = []string{}
	}
	if o.Proxy == "" {
		o.Proxy = "none"
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	a.retrier.wait = 10 * time.Millisecond
	ref, err := reference.Parse(host + "/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	return a.Client(ref)
}

// wantError checks that err is one line that says all of want.
func wantError(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", want)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q, want %q in it", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error of several lines: %q", err)
	}
}

// serve starts a server of the test's own, in plain HTTP.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return l.Addr().String()
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

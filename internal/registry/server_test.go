package registry

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tare.dev/tare/internal/reference"
	"tare.dev/tare/test/distribution"
)

// A server is a registry that is started for one test.
type server struct{ host string }

// startRegistry starts Debian's docker-registry. See distribution.Config.
func startRegistry(t *testing.T, http, more string) server {
	t.Helper()
	return server{distribution.Start(t, distribution.V2, distribution.Config{HTTP: http, More: more}).Host}
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

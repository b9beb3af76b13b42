package storetest

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
)

// A registry serves a shelf over plain HTTP, as OCI's distribution-spec has it.
type registry struct {
	*shelf
	host string

	mu     sync.Mutex
	served int64 // bytes of blobs that were written to connections
	// answer may answer a request in the registry's place.
	answer func(w http.ResponseWriter, r *http.Request, b []byte) bool
	pause  time.Duration // before each piece of a blob
}

func newRegistry(t *testing.T, s *shelf) *registry {
	t.Helper()
	g := &registry{shelf: s}
	server := httptest.NewUnstartedServer(g)
	server.Config.ErrorLog = nil
	server.Start()
	t.Cleanup(server.Close)
	g.host = server.Listener.Addr().String()
	return g
}

// pull are the arguments that pull a tag.
func (g *registry) pull(tag string) []string { return g.pullFrom(g.host, tag) }

func (g *registry) pullFrom(host, tag string) []string {
	return []string{"pull", "--quiet", "--plain-http", host, "--platform", "linux/amd64", g.name(host, tag)}
}

// name is an image's name in full.
func (g *registry) name(host, tag string) string { return host + "/app:" + tag }

// ServeHTTP implements http.Handler.
func (g *registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	part, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/app/"), "/")
	d := digest.Digest(name)
	switch {
	case r.URL.Path == "/v2/":
		return
	case part == "manifests":
		if tagged, ok := g.tags[name]; ok {
			d = tagged
		}
		w.Header().Set("Content-Type", g.manifests[d].MediaType)
		w.Header().Set("Docker-Content-Digest", string(d))
	}
	b, ok := g.blobs[d]
	if !ok {
		http.Error(w, `{"errors":[{"code":"NOT_FOUND"}]}`, http.StatusNotFound)
		return
	}
	if g.answer != nil && g.answer(w, r, b) {
		return
	}
	if part == "blobs" {
		w = &slow{w, g}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// slow counts what it passes on, and waits between.
type slow struct {
	http.ResponseWriter
	g *registry
}

func (s *slow) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		part := p[n:min(len(p), n+32<<10)]
		if s.g.pause > 0 {
			s.ResponseWriter.(http.Flusher).Flush()
			time.Sleep(s.g.pause)
		}
		m, err := s.ResponseWriter.Write(part)
		s.g.mu.Lock()
		s.g.served += int64(m)
		s.g.mu.Unlock()
		n += m
		if err != nil {
			return n, err
		}
	}
	return len(p), nil
}

func (g *registry) take() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.served
	g.served = 0
	return n
}

// A proxy passes connections on to a registry, and breaks them.
type proxy struct {
	net.Listener
	to string

	mu     sync.Mutex
	passed int64 // bytes of answers
	left   int64 // of answers, until the connection that brings the last is cut; less than 0: never
	reset  bool
	cuts   int
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{Listener: l, to: to, left: -1}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.pass(c.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return p
}

func (p *proxy) pass(c *net.TCPConn) {
	defer c.Close()
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer up.Close()
	var both sync.WaitGroup
	defer both.Wait()
	both.Go(func() {
		defer up.Close()
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if _, bad := up.Write(buf[:n]); bad != nil || err != nil {
				return
			}
		}
	})
	buf := make([]byte, 16<<10)
	for {
		n, err := up.Read(buf)
		n, cut := p.allow(n)
		if _, bad := c.Write(buf[:n]); bad != nil || err != nil {
			c.Close()
			return
		}
		if cut {
			if p.reset { // as a gateway does that forgot the connection; what it had sent may be lost
				_ = c.SetLinger(0)
			}
			c.Close()
			return
		}
	}
}

// allow takes n bytes from what is left, and tells whether the connection breaks after them.
func (p *proxy) allow(n int) (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left >= 0 && int64(n) >= p.left {
		n = int(p.left)
		p.passed += int64(n)
		p.left = -1
		p.cuts++
		return n, true
	}
	if p.left >= 0 {
		p.left -= int64(n)
	}
	p.passed += int64(n)
	return n, false
}

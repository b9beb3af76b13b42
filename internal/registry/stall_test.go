package registry

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestStalledConnections(t *testing.T) {
	const idle = 300 * time.Millisecond
	d := describeBytes("x", random(100_000))
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	hang := func(r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"no answer", func(_ http.ResponseWriter, r *http.Request) { hang(r) }},
		{"no body", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100000")
			_ = http.NewResponseController(w).Flush()
			hang(r)
		}},
		{"half a body", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(make([]byte, 50_000))
			_ = http.NewResponseController(w).Flush()
			hang(r)
		}},
		{"drop by drop", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100000")
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte{0})
				_ = http.NewResponseController(w).Flush()
				time.Sleep(idle / 10)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			start := time.Now()
			c := answering(t, Options{Idle: idle, Retries: -1}, test.answer)
			r, err := c.Open(within(t, 20*time.Second), d, 0)
			if err == nil {
				_, err = io.Copy(io.Discard, r)
				r.Close()
			}
			wantError(t, err, "connection stalled")
			if took := time.Since(start); took > 20*idle {
				t.Errorf("given up after %s", took)
			}
		})
	}
}

func TestSlowReaderIsNoStall(t *testing.T) {
	const idle = 200 * time.Millisecond
	s := &blobServer{blob: random(4 << 20)}
	c := newClient(t, serve(t, s), Options{Idle: idle, Retries: -1})
	r, err := c.Open(within(t, time.Minute), describeBytes("x", s.blob), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	time.Sleep(2 * idle) // as flash does that erases
	if got, err := io.ReadAll(r); err != nil || len(got) != len(s.blob) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestStalledUpload(t *testing.T) {
	release := make(chan struct{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Location", "/upload")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		<-release // reads nothing of it
	}))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(release) })
	c := newClient(t, l.Addr().String(), Options{Idle: 300 * time.Millisecond, Retries: -1})
	blob := random(32 << 20)
	err = c.Put(within(t, 20*time.Second), describeBytes("x", blob), struct{ io.Reader }{bytes.NewReader(blob)})
	wantError(t, err, "push ", "connection stalled")
}

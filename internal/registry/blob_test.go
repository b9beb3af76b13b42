package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// blobServer serves a blob, badly.
type blobServer struct {
	blob   []byte
	ranges bool
	cut    int // bytes after which the connection breaks; 0 never
	sent   atomic.Int64
}

func (s *blobServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest := s.blob
	var start int
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start); err == nil && s.ranges {
		rest = rest[start:]
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(s.blob)-1, len(s.blob)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(rest)))
	if len(rest) < len(s.blob) {
		w.WriteHeader(http.StatusPartialContent)
	}
	if s.cut > 0 && len(rest) > s.cut {
		rest = rest[:s.cut]
	}
	n, _ := w.Write(rest)
	s.sent.Add(int64(n))
	if s.cut > 0 {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// readAll reads a blob as package blob does: from where it stopped.
func readAll(ctx context.Context, c *Client, d v1.Descriptor) ([]byte, error) {
	var b bytes.Buffer
	for range 1000 {
		r, err := c.Open(ctx, d, int64(b.Len()))
		if err != nil {
			return b.Bytes(), err
		}
		_, err = io.Copy(&b, r)
		r.Close()
		if int64(b.Len()) == d.Size {
			return b.Bytes(), err
		}
	}
	return b.Bytes(), io.ErrNoProgress
}

func TestResumeFetchesNoByteTwice(t *testing.T) {
	s := &blobServer{blob: random(1 << 20), ranges: true, cut: 100_000}
	c := newClient(t, serve(t, s), Options{})
	got, err := readAll(within(t, time.Minute), c, describeBytes("x", s.blob))
	if err != nil || !bytes.Equal(got, s.blob) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n := s.sent.Load(); n > int64(len(s.blob)) {
		t.Errorf("%d bytes were sent for a blob of %d", n, len(s.blob))
	}
}

func TestServerWithoutRanges(t *testing.T) {
	s := &blobServer{blob: random(1 << 20)}
	c := newClient(t, serve(t, s), Options{})
	d := describeBytes("x", s.blob)
	r, err := c.Open(within(t, time.Minute), d, 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, s.blob[1000:]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestBadBlobs(t *testing.T) {
	blob := random(1000)
	d := describeBytes("x", blob)
	header := func(key, value string, status int, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(key, value)
			w.WriteHeader(status)
			_, _ = w.Write(body)
		}
	}
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"longer", header("A", "b", 200, append(blob, 1)), "blob of 1001 bytes, want 1000"},
		{"shorter", header("A", "b", 200, blob[1:]), "blob of 999 bytes, want 1000"},
		{"other range", header("Content-Range", "bytes 600-999/1000", 206, blob[600:]), "range \"bytes 600-999/1000\", want bytes from 500"},
		{"other size", header("Content-Range", "bytes 500-999/2000", 206, blob[500:]), "range"},
		{"no range", header("A", "b", 206, blob[500:]), "range \"\""},
		{"negative", header("Content-Range", "bytes -5-999/1000", 206, blob), "range"},
		{"none", header("A", "b", 204, nil), "204 no content"},
		{"not there", header("A", "b", 416, nil), "416"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := answering(t, Options{}, test.answer)
			r, err := c.Open(within(t, time.Minute), d, 500)
			if err == nil {
				_, err = io.ReadAll(r)
				r.Close()
			}
			wantError(t, err, test.want)
		})
	}

	// A body without a length may be of any.
	for _, n := range []int{999, 1001} {
		c := answering(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(append(blob, 1)[:n])
		})
		r, err := c.Open(within(t, time.Minute), d, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if n < 1000 && err != io.ErrUnexpectedEOF || n > 1000 && (err != nil || len(got) != 1000) {
			t.Errorf("of %d bytes: %d, %v", n, len(got), err)
		}
	}
	_, err := answering(t, Options{}, http.NotFound).Open(within(t, time.Minute), d, 1001)
	wantError(t, err, "offset 1001 of 1000 bytes")
}

func TestUploadIsSentAgain(t *testing.T) {
	blob := random(1 << 20)
	var n atomic.Int32
	c := answering(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			w.Header().Set("Location", "/upload?state=a%2Fb")
			w.WriteHeader(http.StatusAccepted)
		case r.Method == http.MethodGet:
			http.NotFound(w, r) // it keeps nothing of an upload
		case n.Add(1) == 1:
			panic(http.ErrAbortHandler)
		default:
			got, err := io.ReadAll(r.Body)
			if err != nil || !bytes.Equal(got, blob) || r.URL.Query().Get("state") != "a/b" {
				t.Errorf("%s: %d bytes, %v", r.URL, len(got), err)
			}
			w.WriteHeader(http.StatusCreated)
		}
	})
	if err := c.Put(within(t, time.Minute), describeBytes("x", blob), bytes.NewReader(blob)); err != nil {
		t.Error(err)
	}
	if n.Load() != 2 {
		t.Errorf("sent %d times, want 2", n.Load())
	}
}

// TestNoBlobIsHeld moves a large blob both ways and counts what is allocated.
func TestNoBlobIsHeld(t *testing.T) {
	const size = 256 << 20
	c := answering(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
			w.Header().Set("Content-Length", strconv.Itoa(size))
			chunk := make([]byte, 64<<10)
			for range size / len(chunk) {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		case http.MethodPost:
			w.Header().Set("Location", "/upload")
			w.WriteHeader(http.StatusAccepted)
		case http.MethodPut:
			if n, _ := io.Copy(io.Discard, r.Body); n == size {
				w.WriteHeader(http.StatusCreated)
			}
		}
	})
	d := v1.Descriptor{Digest: digest.FromString("x"), Size: size}
	ctx := within(t, time.Minute)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := c.Open(ctx, d, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); n != size || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	r.Close()
	if err := c.Put(ctx, d, io.LimitReader(zeros{}, size)); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
		t.Errorf("%d bytes were allocated to move 512 MiB, want at most 2 MiB", used)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

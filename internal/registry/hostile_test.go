package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// answering returns a client of a server that answers everything with h.
func answering(t *testing.T, o Options, h http.HandlerFunc) *Client {
	t.Helper()
	return newClient(t, serve(t, h), o)
}

const ociManifest = v1.MediaTypeImageManifest

func TestLyingRegistry(t *testing.T) {
	right := []byte(`{"schemaVersion":2}`)
	d := describeBytes(ociManifest, right)
	other := string(digest.FromString("other"))
	tests := []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request)
		want   string
	}{
		{"bytes", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"schemaVersion":1}`) }, "registry answers with sha256:"},
		{"digest header", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", other)
			fmt.Fprint(w, `{"schemaVersion":1}`)
		}, "registry answers with sha256:"},
		{"type", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", ";;")
			fmt.Fprintf(w, "%s", right)
		}, "content type"},
		{"schema 1", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", dockerSchema1+"+prettyjws")
			fmt.Fprintf(w, "%s", right)
		}, "schema 1"},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for range 1000 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, "more than 4194304"},
		{"truncated", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, "{")
		}, "unexpected EOF"},
		{"terminal", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprint(w, `{"errors":[{"code":"A","message":"\u001b]0;pwned\u0007\nline two"}]}`)
		}, "418 i'm a teapot: ]0;pwned line two"},
		{"deep text", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprint(w, `{"errors":[{"message":"`+strings.Repeat("x", 10000)+`"}]}`)
		}, "xxx…"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := answering(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", ociManifest)
				test.answer(w, r)
			})
			_, err := c.Manifest(within(t, 20*time.Second), d)
			wantError(t, err, "fetch ", test.want)
			if err != nil && strings.ContainsAny(err.Error(), "\x1b\a") {
				t.Errorf("%q would reach the terminal", err)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	storage := &recorder{answer: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "blob") }}
	elsewhere := serve(t, storage)
	blob := describeBytes("x", []byte("blob"))
	secret := func(string, string) (Credential, bool) { return Credential{Username: "u", Password: "p"}, true }
	var loops atomic.Int32
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if strings.Contains(r.URL.Path, "manifests") {
			loops.Add(1)
			http.Redirect(w, r, r.URL.Path+"x", http.StatusTemporaryRedirect)
			return
		}
		http.Redirect(w, r, "http://"+elsewhere+"/secret/place", http.StatusTemporaryRedirect)
	}
	ctx := within(t, time.Minute)
	c := answering(t, Options{Credential: secret}, h)
	r, err := c.Open(ctx, blob, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	r.Close()
	if err != nil || string(got) != "blob" {
		t.Errorf("read %q, %v", got, err)
	}
	for _, req := range storage.all() {
		if req.Header.Get("Authorization") != "" {
			t.Error("the registry's credentials went to another host")
		}
	}
	_, err = c.Resolve(ctx, "1")
	wantError(t, err, "more than 10 redirects")
	if n := loops.Load(); n > 2*maxRedirects+2 {
		t.Errorf("%d redirects were followed", n)
	}
}

func TestNoRedirectFromTLSToPlain(t *testing.T) {
	r := &recorder{}
	plain := serve(t, r)
	ca := newAuthority(t)
	ca.sign(t, "server", time.Hour)
	host := ca.serveTLS(t, "server", http.RedirectHandler("http://"+plain+"/", http.StatusFound))
	_, err := newClient(t, host, Options{CAFiles: []string{ca.path("ca.crt")}}).Resolve(within(t, time.Minute), "1")
	wantError(t, err, "redirect from https to http://"+plain)
	if len(r.all()) != 0 {
		t.Error("the plain server was asked")
	}
}

func TestTokenServerMustSpeakTLSAsTheRegistryDoes(t *testing.T) {
	r := &recorder{}
	plain := serve(t, r)
	ca := newAuthority(t)
	ca.sign(t, "server", time.Hour)
	host := ca.serveTLS(t, "server", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+plain+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	_, err := newClient(t, host, Options{CAFiles: []string{ca.path("ca.crt")}}).Resolve(within(t, time.Minute), "1")
	wantError(t, err, "token server http://"+plain+": must speak https")
	if len(r.all()) != 0 {
		t.Error("the token server was asked")
	}
}

func TestRetries(t *testing.T) {
	text := []byte(`{"schemaVersion":2}`)
	d := describeBytes(ociManifest, text)
	for _, status := range []int{429, 500, 502, 503, 504, 408} {
		var n atomic.Int32
		c := answering(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
			if n.Add(1) <= 3 {
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(status)
				return
			}
			w.Header().Set("Content-Type", ociManifest)
			_, _ = w.Write(text)
		})
		if _, err := c.Manifest(within(t, time.Minute), d); err != nil || n.Load() != 4 {
			t.Errorf("after three answers of %d: %v, after %d requests", status, err, n.Load())
		}
	}
}

func TestRetryAfter(t *testing.T) {
	var notes []string
	c := answering(t, Options{Note: func(s string) { notes = append(notes, s) }}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	start := time.Now()
	_, err := c.Resolve(within(t, 500*time.Millisecond), "1")
	wantError(t, err, "context deadline exceeded")
	if len(notes) != 1 || !strings.HasSuffix(notes[0], ": 429 Too Many Requests; again in 2s") || time.Since(start) > 2*time.Second {
		t.Errorf("notes %q after %s", notes, time.Since(start))
	}

	// Hours are not waited for.
	c = answering(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "21600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	_, err = c.Resolve(within(t, time.Minute), "1")
	wantError(t, err, "429 too many requests", "use a mirror")

	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		in    string
		want  time.Duration
		given bool
	}{
		{"7", 7 * time.Second, true},
		{"Fri, 02 Jan 2026 03:05:05 GMT", time.Minute, true},
		{"Fri, 02 Jan 2026 03:00:00 GMT", 0, true},
		{"", 0, false},
		{"-1", 0, false},
		{"soon", 0, false},
		{"99999999999999999999", 0, false},
	}
	for _, test := range tests {
		if got, given := retryAfter(test.in, now); got != test.want || given != test.given {
			t.Errorf("retryAfter(%q) = %s, %v, want %s, %v", test.in, got, given, test.want, test.given)
		}
	}
}

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

func TestUploadIsSentAgain(t *testing.T) {
	blob := random(1 << 20)
	var n atomic.Int32
	c := answering(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			w.Header().Set("Location", "/upload?state=a%2Fb")
			w.WriteHeader(http.StatusAccepted)
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

func TestHugeHeaders(t *testing.T) {
	c := answering(t, Options{Retries: -1}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 1<<20))
	})
	_, err := c.Resolve(within(t, time.Minute), "1")
	wantError(t, err, "server response headers exceeded")
}

func TestRegistryWithoutHEAD(t *testing.T) {
	text := []byte(`{"schemaVersion":2}`)
	for _, answer := range []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMethodNotAllowed) },
		func(http.ResponseWriter, *http.Request) {},
	} {
		c := answering(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", ociManifest+"; charset=utf-8")
			if r.Method == http.MethodHead {
				answer(w, r)
				return
			}
			_, _ = w.Write(text)
		})
		d, err := c.Resolve(within(t, time.Minute), "1")
		if want := describeBytes(ociManifest, text); err != nil || d.Digest != want.Digest || d.Size != want.Size || d.MediaType != want.MediaType {
			t.Errorf("Resolve = %+v, %v, want %+v", d, err, want)
		}
	}
}

func TestMirrors(t *testing.T) {
	s := startRegistry(t, "", "")
	ctx := within(t, time.Minute)
	image, blob, _ := pushImage(t, ctx, newClient(t, s.host, Options{}), random(1<<20))

	empty := &recorder{}
	liar := &recorder{answer: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", ociManifest)
		fmt.Fprint(w, "{}")
	}}
	gone := freePort(t)
	emptyHost, liarHost := serve(t, empty), serve(t, liar)
	var notes []string
	c := newClient(t, s.host, Options{
		Mirrors: map[string][]string{s.host: {gone, emptyHost + "/pre/fix/", liarHost}},
		Retries: -1,
		Note:    func(s string) { notes = append(notes, s) },
	})
	if _, err := c.Manifest(ctx, image); err != nil {
		t.Error(err)
	}
	if r, err := c.Open(ctx, blob, 0); err != nil {
		t.Error(err)
	} else {
		r.Close()
	}
	if all := empty.all(); len(all) == 0 || all[len(all)-1].URL.Path != "/v2/pre/fix/team/app/blobs/"+string(blob.Digest) {
		t.Errorf("mirror was asked %v", all)
	}
	// The mirror that is gone is asked once; that the other has not got it is no news.
	if text := strings.Join(notes, "\n"); strings.Count(text, gone+": connect") != 1 || strings.Contains(text, emptyHost) || !strings.Contains(text, liarHost) {
		t.Errorf("notes: %s", text)
	}

	// What a mirror has is not asked of the registry, which may be out of reach.
	c = newClient(t, gone, Options{Mirrors: map[string][]string{gone: {s.host}}, Retries: -1})
	if d, err := c.Resolve(ctx, "1"); err != nil || d.Digest != image.Digest {
		t.Errorf("Resolve by mirror = %v, %v", d, err)
	}
	// Nothing is pushed to a mirror.
	wantError(t, c.Put(ctx, blob, strings.NewReader("x")), "connection refused")
}

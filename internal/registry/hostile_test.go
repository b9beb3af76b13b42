package registry

import (
	"fmt"
	"io"
	"net"
	"net/http"
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
		{"schema 1", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", dockerSchema1+"+prettyjws")
			fmt.Fprintf(w, "%s", right)
		}, "schema 1"},
		{"schema 1 by its word", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, `{"schemaVersion":1}`)
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
	if len(notes) != 1 || !strings.HasSuffix(notes[0], "") || time.Since(start) > 2*time.Second {
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

func TestNothingOfAServerReachesTheTerminal(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "HTTP/1.1 503 \x1b[2J\r\nLocation: http://\u009b2J.invalid/\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n\x1b[2J\n")
			c.Close()
		}
	}()
	var notes []string
	_, err = newClient(t, l.Addr().String(), Options{Insecure: []string{l.Addr().String()}, Note: func(s string) { notes = append(notes, s) }}).Resolve(within(t, time.Minute), "1")
	wantError(t, err, "503 service unavailable")
	for _, s := range append(notes, fmt.Sprint(err)) {
		if strings.ContainsAny(s, "\x1b\u009b\n") {
			t.Errorf("%q would reach the terminal", s)
		}
	}
	if len(notes) != 5 {
		t.Errorf("notes %q, want 5", notes)
	}
}

// TestFileServer resolves at a server that knows nothing of manifests.
func TestFileServer(t *testing.T) {
	for body, want := range map[string]string{
		`{"schemaVersion":2,"mediaType":"` + dockerIndex + `","manifests":[]}`: dockerIndex,
		`{"schemaVersion":2,"manifests":[]}`:                                   v1.MediaTypeImageIndex,
		`{"schemaVersion":2,"layers":[]}`:                                      v1.MediaTypeImageManifest,
	} {
		c := answering(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/octet-stream")
			fmt.Fprint(w, body)
		})
		d, err := c.Resolve(within(t, time.Minute), "1")
		if err != nil || d.MediaType != want || d.Digest != digest.FromString(body) {
			t.Errorf("of %s: %+v, %v, want %s", body, d, err, want)
		}
	}
}

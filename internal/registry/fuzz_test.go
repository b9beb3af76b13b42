package registry

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/reference"
)

// raw answers every request with the same bytes.
type raw []byte

func (b raw) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(req.Body, 1<<20))
		req.Body.Close()
	}
	return http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), req)
}

func FuzzResponses(f *testing.F) {
	body := `{"schemaVersion":2,"manifests":[{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","artifactType":"a"}]}`
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Type: " + v1.MediaTypeImageIndex + "\r\nDocker-Content-Digest: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\nContent-Length: 129\r\n\r\n" + body))
	f.Add([]byte("HTTP/1.1 206 Partial\r\nContent-Range: bytes 2-4/5\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm=\"https://x.invalid/t\",service=s\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add([]byte("HTTP/1.1 202 Accepted\r\nLocation: /upload?a=b\r\nContent-Length: 0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 404 No\r\nContent-Type: application/json\r\n\r\n{\"errors\":[{\"code\":\"NAME_UNKNOWN\",\"message\":\"x\"}]}"))
	f.Add([]byte("HTTP/1.1 307 There\r\nLocation: //[::1]/x\r\nContent-Length: 0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := New(Options{Proxy: "none", AuthFiles: []string{}, CertDirs: []string{}, Retries: -1})
		if err != nil {
			t.Fatal(err)
		}
		a.http.Transport = raw(b)
		c := a.Client(reference.Ref{Registry: "registry.invalid", Repository: "x", Tag: "1"})
		d := v1.Descriptor{Digest: digest.FromString("hello"), Size: 5, MediaType: ociManifest}
		ctx := t.Context()
		if d, err := c.Resolve(ctx, "1"); err == nil && (d.Size < 0 || d.Size > maxManifest || d.Digest.Validate() != nil) {
			t.Errorf("Resolve = %+v", d)
		}
		if text, err := c.Manifest(ctx, d); err == nil && string(text) != "hello" {
			t.Errorf("Manifest = %q", text)
		}
		if r, err := c.Open(ctx, d, 2); err == nil {
			if got, err := io.ReadAll(r); err == nil && len(got) != 3 {
				t.Errorf("Open = %q", got)
			}
			r.Close()
		}
		_, _ = c.Has(ctx, d)
		_, _ = c.Referrers(ctx, d, "a")
		_, _ = c.Mount(ctx, d, "y")
		_ = c.Put(ctx, d, strings.NewReader("hello"))
		_ = c.PutManifest(ctx, "1", d, []byte("hello"))
	})
}

package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/blob"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
	"tare.dev/tare/test/built"
)

// A registry that sends something else than it promised is found out.
func TestLyingRegistryIsRefused(t *testing.T) {
	needRoot(t)
	big := layerOf(t, files("f", 1, 30, 50_000)...)
	layer := digest.FromBytes(squeeze(t, big))
	serve := func(b []byte) func(http.ResponseWriter, *http.Request, []byte) bool {
		return func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			if !strings.HasSuffix(r.URL.Path, string(layer)) {
				return false
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
			return true
		}
	}
	other := func(part string) func(http.ResponseWriter, *http.Request, []byte) bool {
		return func(w http.ResponseWriter, r *http.Request, b []byte) bool {
			if !strings.Contains(r.URL.Path, part) {
				return false
			}
			b = bytes.Clone(b)
			b[len(b)/2] ^= 1
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
			return true
		}
	}
	good := squeeze(t, big)
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1 // in gzip's own sum: every file is as it was
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request, []byte) bool
		want   string
	}{
		"other bytes":    {serve(flipped), ""},
		"another layer":  {serve(squeeze(t, layerOf(t, files("g", 2, 30, 50_000)...))), "want"},
		"a byte more":    {serve(append(bytes.Clone(good), 0)), "want"},
		"a byte less":    {serve(good[:len(good)-1]), "want"},
		"other manifest": {other("/manifests/"), ""},
		"other blobs":    {other("/blobs/"), ""},
		"endless": {func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			if !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			for _, err := w.Write(make([]byte, 1<<16)); err == nil; _, err = w.Write(make([]byte, 1<<16)) {
			}
			return true
		}, ""},
		"endless manifest": {func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.Header().Del("Docker-Content-Digest")
			for _, err := w.Write([]byte("{    ")); err == nil && r.Method == http.MethodGet; _, err = w.Write(bytes.Repeat([]byte(" "), 1<<16)) {
			}
			return true
		}, ""},
		"a range from elsewhere": {func(w http.ResponseWriter, r *http.Request, b []byte) bool {
			if !strings.HasSuffix(r.URL.Path, string(layer)) {
				return false
			}
			w.Header().Set("Content-Range", "bytes 5-9/10")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(b)
			return true
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRegistry(t, newShelf())
			g.image(t, "evil", big)
			g.answer = c.answer
			refusedImage(t, device{path: built.Tare(t), root: t.TempDir()}, g, c.want, 48<<10)
		})
	}
}

// Manifests and configs are input like any other.
func TestHostileManifestsAreRefused(t *testing.T) {
	needRoot(t)
	s := newShelf()
	layer := s.put(v1.MediaTypeImageLayer, layerOf(t, file{"a", []byte("1")}))
	diff := []digest.Digest{layer.Digest}
	config := s.put(v1.MediaTypeImageConfig, encode(t, v1.Image{RootFS: v1.RootFS{Type: "layers", DiffIDs: diff}}))
	version := specs.Versioned{SchemaVersion: 2}
	edit := func(change func(m *v1.Manifest)) []byte {
		m := v1.Manifest{Versioned: version, MediaType: v1.MediaTypeImageManifest, Config: config, Layers: []v1.Descriptor{layer}}
		change(&m)
		return encode(t, m)
	}
	text := func(b string) v1.Descriptor { return s.put(v1.MediaTypeImageConfig, []byte(b)) }
	for name, c := range map[string]struct {
		manifest []byte
		want     string
	}{
		"truncated":            {edit(func(*v1.Manifest) {})[:100], ""},
		"empty object":         {[]byte("{}"), ""},
		"null":                 {[]byte("null"), ""},
		"deep":                 {[]byte(strings.Repeat("[", 100_000)), ""},
		"schema 1":             {edit(func(m *v1.Manifest) { m.SchemaVersion = 1 }), ""},
		"no config":            {edit(func(m *v1.Manifest) { m.Config = v1.Descriptor{} }), ""},
		"config of no JSON":    {edit(func(m *v1.Manifest) { m.Config = text("hello") }), ""},
		"huge config":          {edit(func(m *v1.Manifest) { m.Config.Size = 1 << 40 }), ""},
		"negative layer":       {edit(func(m *v1.Manifest) { m.Layers[0].Size = -1 }), ""},
		"path for a digest":    {edit(func(m *v1.Manifest) { m.Layers[0].Digest = "sha256:../../../../etc/passwd" }), ""},
		"digest of md5":        {edit(func(m *v1.Manifest) { m.Layers[0].Digest = "md5:d41d8cd98f00b204e9800998ecf8427e" }), ""},
		"escapes in a digest":  {edit(func(m *v1.Manifest) { m.Layers[0].Digest = "sha256:\x1b[2J\n" }), ""},
		"one layer too many":   {edit(func(m *v1.Manifest) { m.Layers = append(m.Layers, layer) }), ""},
		"thousands of layers":  {edit(func(m *v1.Manifest) { m.Layers = make([]v1.Descriptor, 5000) }), ""},
		"layer of other bytes": {edit(func(m *v1.Manifest) { m.Layers[0] = text("other") }), ""},
		"layer that is absent": {edit(func(m *v1.Manifest) { m.Layers[0].Digest = digest.FromString("absent") }), ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRegistry(t, s)
			d := g.put(v1.MediaTypeImageManifest, c.manifest)
			g.manifests[d.Digest] = d
			g.tags["evil"] = d.Digest
			refusedImage(t, device{path: built.Tare(t), root: t.TempDir()}, g, c.want, 48<<10)
		})
	}
}

// What ends early ends the pull, wherever that is; what is whole to the last byte does not.
func TestTruncatedLayersAreRefused(t *testing.T) {
	needRoot(t)
	raw := layerOf(t, files("f", 1, 20, 20_000)...)
	root := filepath.Join(t.TempDir(), "store")
	st, err := store.Open(root, store.Options{Reserve: -1})
	must(t, err)
	defer st.Close()
	pull := func(s *shelf, name string, attempts int) error {
		_, err := transfer.Pull(context.Background(), s, name, st, transfer.PullOptions{Blob: blob.Options{Attempts: attempts, Pause: time.Millisecond}})
		return err
	}
	for n := 0; n < len(raw); n += len(raw)/60 - 7 {
		for _, compressed := range []bool{false, true} {
			s := newShelf()
			b := raw
			if compressed {
				b = squeeze(t, raw)
			}
			part := s.put(v1.MediaTypeImageLayer, b[:min(n, len(b)-1)])
			config := v1.Image{RootFS: v1.RootFS{DiffIDs: []digest.Digest{digest.FromBytes(raw)}}}
			s.manifest(t, "cut", v1.Manifest{
				Versioned: specs.Versioned{SchemaVersion: 2},
				Config:    s.put(v1.MediaTypeImageConfig, encode(t, config)), Layers: []v1.Descriptor{part},
			})
			if err := pull(s, "cut", -1); err == nil {
				t.Errorf("%d bytes of %d, compressed %v: taken", part.Size, len(b), compressed)
			}
		}
	}
	s := newShelf()
	s.image(t, "whole", raw)
	whole := s.blobs[digest.FromBytes(squeeze(t, raw))]
	short := &shortSource{shelf: s, most: 1000}
	_, err = transfer.Pull(context.Background(), short, "whole", st, transfer.PullOptions{Blob: blob.Options{Pause: time.Millisecond}})
	must(t, err)
	if want := len(whole) / 1000; short.opened < want {
		t.Errorf("a source of 1000 bytes a time was opened %d times, want %d", short.opened, want)
	}
	short.most = 0
	s.image(t, "other", layerOf(t, file{"a", raw[:5000]}))
	_, err = transfer.Pull(context.Background(), short, "other", st, transfer.PullOptions{Blob: blob.Options{Pause: time.Millisecond}})
	if !errors.Is(err, blob.ErrSize) {
		t.Errorf("a source of no bytes: %v, want %v", err, blob.ErrSize)
	}
	if left, _ := os.ReadDir(filepath.Join(root, "tmp")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// shortSource ends each stream early.
type shortSource struct {
	*shelf
	most   int64
	opened int
}

func (s *shortSource) Open(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	s.opened++
	r, err := s.shelf.Open(ctx, d, offset)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.LimitReader(r, s.most)), nil
}

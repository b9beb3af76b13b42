package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A foreign is an OCI image layout that tare had no part in.
type foreign struct {
	t   *testing.T
	dir string
}

func newForeign(t *testing.T) *foreign {
	t.Helper()
	f := &foreign{t, t.TempDir()}
	if err := os.MkdirAll(filepath.Join(f.dir, "blobs/sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	f.write("index.json", []byte(`{"schemaVersion":2,"manifests":[]}`))
	return f
}

func (f *foreign) write(name string, data []byte) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), data, 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// blob adds one.
func (f *foreign) blob(mediaType string, data []byte) v1.Descriptor {
	f.t.Helper()
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	f.write("blobs/sha256/"+d.Digest.Encoded(), data)
	return d
}

func (f *foreign) document(mediaType string, v any) v1.Descriptor {
	f.t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.blob(mediaType, text)
}

// A packed is a layer of it.
type packed struct {
	v1.Descriptor
	diffID digest.Digest
}

// layer adds one, from a tar stream.
func (f *foreign) layer(mediaType string, r io.Reader) packed {
	f.t.Helper()
	var data bytes.Buffer
	var z io.WriteCloser
	var err error
	switch mediaType {
	case v1.MediaTypeImageLayerGzip:
		z, err = gzip.NewWriterLevel(&data, gzip.BestSpeed)
	case v1.MediaTypeImageLayerZstd:
		z, err = zstd.NewWriter(&data)
	default:
		z = closer{&data}
	}
	if err != nil {
		f.t.Fatal(err)
	}
	plain := digest.SHA256.Digester()
	if _, err := io.Copy(io.MultiWriter(z, plain.Hash()), r); err != nil {
		f.t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		f.t.Fatal(err)
	}
	return packed{f.blob(mediaType, data.Bytes()), plain.Digest()}
}

type closer struct{ io.Writer }

func (closer) Close() error { return nil }

func (f *foreign) file(mediaType, name string) packed {
	f.t.Helper()
	r, err := os.Open(name)
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Close()
	return f.layer(mediaType, r)
}

// image adds an image of layers, the lowest first, and returns its manifest's descriptor.
func (f *foreign) image(p v1.Platform, layers ...packed) v1.Descriptor {
	f.t.Helper()
	made := time.Unix(1700000000, 0).UTC()
	c := v1.Image{Created: &made, Platform: p, RootFS: v1.RootFS{Type: "layers"}}
	c.Config = v1.ImageConfig{
		Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "MADE=by a test"}, Cmd: []string{"/bin/sh"},
		WorkingDir: "/", Labels: map[string]string{"org.example": "yes"},
	}
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for _, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, l.diffID)
		c.History = append(c.History, v1.History{CreatedBy: "layer " + l.diffID.Encoded()[:8]})
		m.Layers = append(m.Layers, l.Descriptor)
	}
	c.History = append(c.History, v1.History{CreatedBy: "CMD /bin/sh", EmptyLayer: true})
	m.Config = f.document(v1.MediaTypeImageConfig, c)
	d := f.document(m.MediaType, m)
	d.Platform = &p
	return d
}

func here() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// list lists a manifest or index under a tag.
func (f *foreign) list(tag string, d v1.Descriptor) {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, "index.json"))
	if err != nil {
		f.t.Fatal(err)
	}
	var index v1.Index
	if err := json.Unmarshal(text, &index); err != nil {
		f.t.Fatal(err)
	}
	d.Annotations = map[string]string{v1.AnnotationRefName: tag}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(old v1.Descriptor) bool {
		return old.Annotations[v1.AnnotationRefName] == tag
	})
	index.Manifests = append(index.Manifests, d)
	if text, err = json.Marshal(index); err != nil {
		f.t.Fatal(err)
	}
	f.write("index.json", text)
}

// A thing is an entry of a layer that is made in a test.
type thing struct {
	tar.Header
	data string
}

// tarOf is the tar stream of things.
func tarOf(t *testing.T, things ...thing) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, x := range things {
		h := x.Header
		h.Format = tar.FormatPAX
		h.Size = int64(len(x.data))
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(1600000000, 987654321)
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, x.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

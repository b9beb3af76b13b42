package storetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

// A shelf is blobs and manifests by their digests, and tags: what a registry has. It is a source of
// transfer.Pull itself, for tests that need no network between.
type shelf struct {
	blobs     map[digest.Digest][]byte
	manifests map[digest.Digest]v1.Descriptor
	tags      map[string]digest.Digest
}

func newShelf() *shelf {
	return &shelf{map[digest.Digest][]byte{}, map[digest.Digest]v1.Descriptor{}, map[string]digest.Digest{}}
}

var errNotThere = errors.New("not on the shelf")

// Resolve implements transfer.Source.
func (s *shelf) Resolve(_ context.Context, name string) (v1.Descriptor, error) {
	d, ok := s.tags[name]
	if !ok {
		d = digest.Digest(name)
	}
	desc, ok := s.manifests[d]
	if !ok {
		return desc, fmt.Errorf("%s: %w", name, errNotThere)
	}
	return desc, nil
}

// Manifest implements transfer.Source.
func (s *shelf) Manifest(_ context.Context, d v1.Descriptor) ([]byte, error) {
	return s.blobs[d.Digest], nil
}

// Open implements transfer.Source.
func (s *shelf) Open(_ context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	b, ok := s.blobs[d.Digest]
	if !ok {
		return nil, fmt.Errorf("%s: %w", d.Digest, errNotThere)
	}
	return io.NopCloser(bytes.NewReader(b[offset:])), nil
}

func (s *shelf) put(mediaType string, b []byte) v1.Descriptor {
	d := digest.FromBytes(b)
	s.blobs[d] = b
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

// image makes an image of tar streams, under a tag.
func (s *shelf) image(t *testing.T, tag string, layers ...[]byte) v1.Descriptor {
	t.Helper()
	config := v1.Image{
		Platform: v1.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   v1.RootFS{Type: "layers"},
		Config:   v1.ImageConfig{Labels: map[string]string{"tag": tag}},
	}
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(l))
		m.Layers = append(m.Layers, s.put(v1.MediaTypeImageLayerGzip, squeeze(t, l)))
	}
	m.Config = s.put(v1.MediaTypeImageConfig, encode(t, config))
	return s.manifest(t, tag, m)
}

// packed makes an image of packs of the one with a tag.
func (s *shelf) packed(t *testing.T, from, tag string) {
	t.Helper()
	ctx := context.Background()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{Reserve: -1})
	must(t, err)
	defer st.Close()
	got, err := transfer.Pull(ctx, s, from, st, transfer.PullOptions{})
	must(t, err)
	src, err := transfer.Pack(ctx, st, got.Image, t.TempDir(), transfer.PackOptions{})
	must(t, err)
	raw, err := src.Manifest(ctx, src.Desc)
	must(t, err)
	var m v1.Manifest
	must(t, json.Unmarshal(raw, &m))
	for _, d := range append(m.Layers, m.Config) {
		r, err := src.Open(ctx, d, 0)
		must(t, err)
		b, err := io.ReadAll(r)
		must(t, err)
		must(t, r.Close())
		s.put(d.MediaType, b)
	}
	s.manifests[src.Desc.Digest] = s.put(src.Desc.MediaType, raw)
	s.tags[tag] = src.Desc.Digest
}

func (s *shelf) manifest(t *testing.T, tag string, m v1.Manifest) v1.Descriptor {
	t.Helper()
	d := s.put(v1.MediaTypeImageManifest, encode(t, m))
	s.manifests[d.Digest] = d
	s.tags[tag] = d.Digest
	return d
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return b
}

func squeeze(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	must(t, err)
	_, err = z.Write(b)
	must(t, err)
	must(t, z.Close())
	return out.Bytes()
}

// A file is an entry of a layer.
type file struct {
	name string
	data []byte
}

// layerOf is the tar stream of regular files.
func layerOf(t *testing.T, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		must(t, w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.data)), ModTime: time.Unix(1700000000, 0),
		}))
		_, err := w.Write(f.data)
		must(t, err)
	}
	must(t, w.Close())
	return out.Bytes()
}

// files makes n files of a kind, from seed: most are small, as in real images. Their bytes do not
// compress, so that a part of the layer is a part of the files.
func files(dir string, seed uint64, n, largest int) []file {
	r := rand.New(rand.NewPCG(seed, 1))
	var all []file
	for i := range n {
		size := 1 + r.IntN(min(6000, largest))
		if i%5 == 0 {
			size = 1 + r.IntN(largest)
		}
		all = append(all, file{fmt.Sprintf("%s/f%03d", dir, i), noise(r, size)})
	}
	return all
}

func noise(r *rand.Rand, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

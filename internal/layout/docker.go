package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/reference"
)

// dockerList is the list of images in a docker archive
// (https://github.com/moby/docker-image-spec, "Combined Image JSON + Filesystem Changeset Format").
const dockerList = "manifest.json"

// A dockerImage is one of that list.
type dockerImage struct {
	Config   string   // path of the config
	RepoTags []string // "name:tag"; may be null
	Layers   []string // paths of the layers, the lowest first
}

// Bounds of a docker archive.
const (
	maxDockerImages = 1024
	maxLayers       = 1024    // of an image
	maxAllLayers    = 1 << 14 // of all images
)

// loadDocker makes a manifest for each image of a docker archive.
func (r *Reader) loadDocker(text []byte) error {
	var list []dockerImage
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("%s: %w", dockerList, err)
	}
	if len(list) > maxDockerImages {
		return fmt.Errorf("%s: %d images, want at most %d", dockerList, len(list), maxDockerImages)
	}
	r.paths = map[digest.Digest]string{}
	r.made = map[digest.Digest][]byte{}
	m := maker{r: r, layers: map[string]v1.Descriptor{}}
	for _, i := range list {
		d, err := m.manifest(i)
		if err != nil {
			return fmt.Errorf("image %q: %w", i.RepoTags, err)
		}
		r.images = append(r.images, image{descriptor: d, names: i.RepoTags})
	}
	return nil
}

// A maker makes the manifests of a docker archive.
type maker struct {
	r      *Reader
	layers map[string]v1.Descriptor // by path: images share them
	count  int
}

func (k *maker) manifest(i dockerImage) (v1.Descriptor, error) {
	r := k.r
	for _, path := range append([]string{i.Config}, i.Layers...) {
		if strings.ContainsFunc(path, func(c rune) bool { return !unicode.IsPrint(c) }) {
			return v1.Descriptor{}, fmt.Errorf("path %q is not printable", path)
		}
	}
	config, err := r.document(i.Config)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var parsed struct {
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &parsed); err != nil {
		return v1.Descriptor{}, fmt.Errorf("%s: %w", i.Config, err)
	}
	ids := parsed.RootFS.DiffIDs
	if k.count += len(ids); len(ids) != len(i.Layers) || len(ids) > maxLayers || k.count > maxAllLayers {
		return v1.Descriptor{}, fmt.Errorf("%d layers, and %d in its config", len(i.Layers), len(ids))
	}
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config:    v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
	}
	r.paths[m.Config.Digest] = i.Config
	for n, id := range ids {
		d, err := k.layer(i.Layers[n], id)
		if err != nil {
			return v1.Descriptor{}, err
		}
		m.Layers = append(m.Layers, d)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	r.made[d.Digest] = text
	return d, nil
}

// layer describes a layer. One that is not compressed has its diff id for a digest, which
// whoever reads it verifies; some tools compress them, and their digest must be computed.
func (k *maker) layer(path string, id digest.Digest) (v1.Descriptor, error) {
	if d, ok := k.layers[path]; ok && (d.MediaType != v1.MediaTypeImageLayer || d.Digest == id) {
		return d, nil
	}
	if _, err := reference.ParseDigest(string(id)); err != nil {
		return v1.Descriptor{}, err
	}
	f, err := k.r.files.open(path)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer f.Close()
	d := v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: id, Size: f.size}
	magic := make([]byte, 4)
	if _, err := f.ReadAt(magic, 0); err != nil && !errors.Is(err, io.EOF) {
		return d, fmt.Errorf("%s: %w", path, err)
	}
	switch compression(magic) {
	case "gzip":
		d.MediaType = v1.MediaTypeImageLayerGzip
	case "zstd":
		d.MediaType = v1.MediaTypeImageLayerZstd
	}
	if d.MediaType != v1.MediaTypeImageLayer && f.sum != "" {
		d.Digest = f.sum
	} else if d.MediaType != v1.MediaTypeImageLayer {
		if d.Digest, err = digest.FromReader(io.NewSectionReader(f, 0, f.size)); err != nil {
			return d, fmt.Errorf("%s: %w", path, err)
		}
	}
	k.layers[path] = d
	k.r.paths[d.Digest] = path
	return d, nil
}

// compression names the compression that a stream with these first bytes has; "" is none.
func compression(magic []byte) string {
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return "gzip"
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return "zstd"
	}
	return ""
}

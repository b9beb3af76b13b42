package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/test/rootfs"
)

// A set is what one image is made of.
type set struct {
	name     string
	packages string
}

// sets have most files in common. The last is the first built again.
var sets = []set{
	{"python", "python3,ca-certificates"},
	{"tls", "openssl,ca-certificates,curl"},
	{"sqlite", "sqlite3"},
	{"web", "lighttpd"},
	{"rebuilt", "python3,ca-certificates"},
}

// An image is one in the registry.
type image struct {
	name     string
	tar      string // the tree, as it is in the layer
	tarBytes int64
	layer    v1.Descriptor
	// contents of regular files by digest, with their sizes, and the path of each file to its content
	contents map[content]int64
	files    map[string]content
}

type content [32]byte

// unique is the bytes of contents that are not in before, each once.
func (i *image) unique(before map[content]int64) int64 {
	var sum int64
	for c, size := range i.contents {
		if _, ok := before[c]; !ok {
			sum += size
		}
	}
	return sum
}

// makeImages makes the trees and an OCI layout of all images in layout.
func makeImages(ctx context.Context, o options, scratch, layout string) ([]*image, error) {
	var all []*image
	for n, s := range sets[:o.images] {
		debian := rootfs.Debian{Name: "store-" + strings.Split(s.packages, ",")[0], Packages: strings.Split(s.packages, ",")}
		o.say("image %s from %s", s.name, s.packages)
		archive, err := debian.Archive(ctx, o.cache)
		if err != nil {
			return nil, err
		}
		i := &image{name: s.name, tar: filepath.Join(scratch, s.name+".tar"), contents: map[content]int64{}, files: map[string]content{}}
		if err := i.rebuild(archive, time.Unix(1_760_000_000+int64(n)*86400, 0)); err != nil {
			return nil, fmt.Errorf("image %s: %w", s.name, err)
		}
		if err := i.compress(archive, layout, n); err != nil {
			return nil, fmt.Errorf("image %s: %w", s.name, err)
		}
		all = append(all, i)
	}
	return all, writeIndex(layout, all)
}

// rebuild copies the archive with another time stamp on every entry, as another build would give
// it, and notes what is in it.
func (i *image) rebuild(archive string, built time.Time) error {
	in, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(i.tar)
	if err != nil {
		return err
	}
	defer out.Close()
	r, w := tar.NewReader(in), tar.NewWriter(out)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		// Entries of the package manager's /dev are the host's business.
		if strings.HasPrefix(h.Name, "./dev/") && h.Name != "./dev/" {
			continue
		}
		h.ModTime, h.Format = built, tar.FormatUnknown
		delete(h.PAXRecords, "mtime")
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		sum := sha256.New()
		n, err := io.Copy(io.MultiWriter(w, sum), r)
		if err != nil {
			return err
		}
		c := content(sum.Sum(nil))
		i.contents[c] = n
		i.files[strings.TrimPrefix(h.Name, "./")] = c
	}
	if err := w.Close(); err != nil {
		return err
	}
	st, err := out.Stat()
	if err != nil {
		return err
	}
	i.tarBytes = st.Size()
	return nil
}

// compress makes the layer, which is kept beside the archive: it takes a while.
func (i *image) compress(archive, layout string, n int) error {
	kept := fmt.Sprintf("%s.%d.gz", archive, n)
	if _, err := os.Stat(kept); err != nil {
		if err := gzipFile(i.tar, kept); err != nil {
			return err
		}
	}
	var err error
	i.layer, err = putFile(layout, kept)
	i.layer.MediaType = v1.MediaTypeImageLayerGzip
	return err
}

func gzipFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to + ".part")
	if err != nil {
		return err
	}
	defer out.Close()
	z := gzip.NewWriter(out) // level 6, as docker and buildkit
	if _, err := io.Copy(z, in); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.Rename(to+".part", to)
}

// writeIndex writes config, manifest and index of an OCI layout (image-spec, image-layout.md).
func writeIndex(layout string, all []*image) error {
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, i := range all {
		diffID, err := digestOf(i.tar)
		if err != nil {
			return err
		}
		config, err := putJSON(layout, v1.MediaTypeImageConfig, v1.Image{
			Platform: v1.Platform{Architecture: runtime.GOARCH, OS: "linux"},
			Config:   v1.ImageConfig{Cmd: []string{"/bin/sh"}, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}},
			RootFS:   v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}},
		})
		if err != nil {
			return err
		}
		manifest, err := putJSON(layout, v1.MediaTypeImageManifest, v1.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
			Config: config, Layers: []v1.Descriptor{i.layer},
		})
		if err != nil {
			return err
		}
		manifest.Annotations = map[string]string{v1.AnnotationRefName: i.name}
		index.Manifests = append(index.Manifests, manifest)
	}
	text, err := json.Marshal(index)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(layout, "index.json"), text, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(layout, v1.ImageLayoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
}

func digestOf(name string) (digest.Digest, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return digest.SHA256.FromReader(f)
}

// putFile brings a file into the layout, by a symbolic link.
func putFile(layout, name string) (v1.Descriptor, error) {
	d, err := digestOf(name)
	if err != nil {
		return v1.Descriptor{}, err
	}
	st, err := os.Stat(name)
	if err != nil {
		return v1.Descriptor{}, err
	}
	blobs := filepath.Join(layout, "blobs/sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{Digest: d, Size: st.Size()}, os.Symlink(name, filepath.Join(blobs, d.Encoded()))
}

func putJSON(layout, mediaType string, v any) (v1.Descriptor, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := digest.FromBytes(text)
	desc := v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(text))}
	return desc, os.WriteFile(filepath.Join(layout, "blobs/sha256", d.Encoded()), text, 0o644)
}

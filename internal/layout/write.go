package layout

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/reference"
)

// An Archive is an OCI archive, or a docker archive that is an OCI archive too, that is
// being written. Blobs are written as they come, in order, and the lists at the end, so
// that it can go to a pipe.
//
// In a docker archive, layers stay as they are, compressed with gzip or not: docker load,
// podman load and skopeo look at the first bytes. What is compressed with zstd is refused:
// podman would read it, docker load does not (28.2, without containerd's image store).
type Archive struct {
	w      *tar.Writer
	docker bool
	have   map[digest.Digest]int64
	dirs   map[string]bool
	texts  map[digest.Digest][]byte // manifests of a docker archive, whose layers Close must know
	index  v1.Index
	err    error // the first; all is lost then

	file *os.File // to be renamed to path; nil if the archive is somebody else's stream
	path string
}

// CreateArchive begins an archive at path, which appears, or replaces another, with Close.
func CreateArchive(path string, kind reference.Kind) (*Archive, error) {
	f, err := os.OpenFile(filepath.Join(filepath.Dir(path), tempPrefix+randomText()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	a := NewArchive(f, kind)
	a.file, a.path = f, path
	return a, nil
}

// NewArchive begins an archive in a stream.
func NewArchive(w io.Writer, kind reference.Kind) *Archive {
	a := &Archive{w: tar.NewWriter(w), docker: kind == reference.DockerArchive, have: map[digest.Digest]int64{}, dirs: map[string]bool{}}
	a.index.SchemaVersion = 2
	a.index.MediaType = v1.MediaTypeImageIndex
	a.index.Manifests = []v1.Descriptor{}
	a.texts = map[digest.Digest][]byte{}
	return a
}

// Has tells whether a blob or manifest has been written.
func (a *Archive) Has(_ context.Context, d v1.Descriptor) (bool, error) {
	size, ok := a.have[d.Digest]
	return ok && size == d.Size, nil
}

// Put writes a blob, verified. After an error the archive is of no use.
func (a *Archive) Put(ctx context.Context, d v1.Descriptor, r io.Reader) error {
	if has, _ := a.Has(ctx, d); has || a.err != nil {
		return a.err
	}
	name, err := blobPath(d.Digest)
	if err == nil && a.docker {
		r, err = refuseZstd(r)
	}
	if err == nil {
		err = a.entry(name, d.Size)
	}
	if err == nil {
		err = copyVerified(a.w, d, r)
	}
	if err != nil {
		a.err = fmt.Errorf("write blob %s: %w", d.Digest, err)
		return a.err
	}
	a.have[d.Digest] = d.Size
	return nil
}

// refuseZstd returns what r has, unless that is compressed with zstd.
func refuseZstd(r io.Reader) (io.Reader, error) {
	magic := make([]byte, 4)
	n, err := io.ReadFull(r, magic)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	if compression(magic[:n]) == "zstd" {
		return nil, errors.New("is compressed with zstd, which docker load does not read: use an OCI archive, or another compression")
	}
	return io.MultiReader(bytes.NewReader(magic[:n]), r), nil
}

// PutManifest writes a manifest or index and lists it under a name; under none for "",
// and not at all if name is a digest.
func (a *Archive) PutManifest(ctx context.Context, name string, d v1.Descriptor, text []byte) error {
	if err := a.Put(ctx, d, bytes.NewReader(text)); err != nil {
		return err
	}
	if name == string(d.Digest) {
		return nil
	}
	d = v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Platform: d.Platform}
	if a.docker {
		a.texts[d.Digest] = text
	}
	if name != "" {
		d.Annotations = map[string]string{v1.AnnotationRefName: name}
		if ref, err := reference.Parse(name); err == nil && a.docker {
			d.Annotations = map[string]string{v1.AnnotationRefName: ref.Tag, containerdName: ref.String()}
		}
	}
	a.index.Manifests = append(a.index.Manifests, d)
	return nil
}

// Abort gives the archive up and removes what there is of it.
func (a *Archive) Abort() error {
	if a.file == nil {
		return nil
	}
	err := errors.Join(a.file.Close(), os.Remove(a.file.Name()))
	a.file = nil
	return err
}

// Close writes the lists, and makes the file last under its name. After an error there is
// no file.
func (a *Archive) Close() error {
	err := a.finish()
	if a.file == nil {
		return err
	}
	if err == nil {
		err = a.file.Sync()
	}
	if err == nil {
		err = os.Rename(a.file.Name(), a.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", a.path, err), a.Abort())
	}
	return errors.Join(a.file.Close(), syncDir(filepath.Dir(a.path)))
}

func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (a *Archive) finish() error {
	if a.err != nil {
		return a.err
	}
	if a.docker {
		list, err := a.dockerList()
		if err != nil {
			return err
		}
		if err := a.document(dockerList, list); err != nil {
			return err
		}
	}
	if err := a.document(v1.ImageIndexFile, a.index); err != nil {
		return err
	}
	if err := a.document(v1.ImageLayoutFile, v1.ImageLayout{Version: v1.ImageLayoutVersion}); err != nil {
		return err
	}
	return a.w.Close()
}

// dockerList returns the list of images as docker load wants it.
func (a *Archive) dockerList() ([]dockerImage, error) {
	var list []dockerImage
	for _, d := range a.index.Manifests {
		var m v1.Manifest
		if err := json.Unmarshal(a.texts[d.Digest], &m); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
		}
		if m.Config.Digest == "" {
			return nil, fmt.Errorf("%s is an index of several platforms: a docker archive holds one of them", d.Digest)
		}
		i := dockerImage{RepoTags: []string{}, Layers: []string{}}
		var err error
		if i.Config, err = blobPath(m.Config.Digest); err != nil {
			return nil, err
		}
		for _, l := range m.Layers {
			name, err := blobPath(l.Digest)
			if err != nil {
				return nil, err
			}
			i.Layers = append(i.Layers, name)
		}
		if name := d.Annotations[containerdName]; name != "" {
			if ref, err := reference.Parse(name); err == nil && ref.Tag != "" {
				ref.Digest = ""
				i.RepoTags = append(i.RepoTags, ref.Familiar())
			}
		}
		list = append(list, i)
	}
	return list, nil
}

func (a *Archive) document(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := a.entry(name, int64(len(text))); err != nil {
		return err
	}
	_, err = a.w.Write(text)
	return err
}

// entry begins a file, with its directories if they are new. Times are the epoch's: the
// same images make the same archive.
func (a *Archive) entry(name string, size int64) error {
	if err := a.dir(path.Dir(name)); err != nil {
		return err
	}
	return a.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)})
}

func (a *Archive) dir(name string) error {
	if name == "." || a.dirs[name] {
		return nil
	}
	if err := a.dir(path.Dir(name)); err != nil {
		return err
	}
	a.dirs[name] = true
	return a.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: time.Unix(0, 0)})
}

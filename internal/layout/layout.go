// Package layout is images in files: OCI image layouts and archives, and what
// docker save writes.
//
// An OCI image layout is a directory of blobs by digest with an index.json of the
// images (image specification, image-layout.md); an OCI archive is one in a tar file. A
// docker archive is a tar file with a manifest.json of configs and layers; what we
// write, and docker itself since version 25, is both at once.
//
// A Reader reads all of them, and makes manifests for images of docker's that have none.
// Nothing is unpacked and no blob is held in memory. What a Reader returns as a manifest
// has the digest that was asked for; what it returns as a blob is a stream that the
// caller verifies (package blob). Where a Reader meets a link, it does not leave the
// directory or the archive.
package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/reference"
)

// maxDocument is the most bytes of a manifest, an index or a config.
const maxDocument = 4 << 20

// containerdName is the annotation with which containerd and docker name an image in
// full: v1.AnnotationRefName has only the tag then.
const containerdName = "io.containerd.image.name"

// A Reader is the images in a directory or a file.
type Reader struct {
	path   string
	files  files
	images []image
	paths  map[digest.Digest]string // where blobs are that are not at their digest
	made   map[digest.Digest][]byte // manifests that are in no file
}

// An image is one of a Reader.
type image struct {
	descriptor v1.Descriptor
	names      []string
}

// files are the files of a directory or an archive, by slashed relative path.
type files interface {
	open(name string) (*file, error)
	Close() error
}

// A file is one of them, open for reading at any offset.
type file struct {
	io.ReaderAt
	io.Closer
	size int64
	sum  digest.Digest // "" if it is not known
}

func newReader(path string, f files) (*Reader, error) {
	r := &Reader{path: path, files: f}
	err := r.load()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

func (r *Reader) load() error {
	text, err := r.document(v1.ImageIndexFile)
	if err == nil {
		r.images, err = parseIndex(text)
		return err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err = r.document(dockerList)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("has no images: neither %s nor %s in it", v1.ImageIndexFile, dockerList)
	}
	if err != nil {
		return err
	}
	return r.loadDocker(text)
}

// parseIndex reads an index.json.
func parseIndex(text []byte) ([]image, error) {
	var index v1.Index
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", v1.ImageIndexFile, err)
	}
	if index.SchemaVersion != 2 {
		return nil, fmt.Errorf("%s: schema version %d, want 2", v1.ImageIndexFile, index.SchemaVersion)
	}
	var images []image
	for _, d := range index.Manifests {
		if _, err := reference.ParseDigest(string(d.Digest)); err != nil {
			return nil, fmt.Errorf("%s: %w", v1.ImageIndexFile, err)
		}
		if d.Size < 0 || d.Size > maxDocument {
			return nil, fmt.Errorf("%s: manifest %s of %d bytes, want at most %d", v1.ImageIndexFile, d.Digest, d.Size, maxDocument)
		}
		i := image{descriptor: d}
		for _, key := range []string{containerdName, v1.AnnotationRefName} {
			if name := d.Annotations[key]; name != "" {
				i.names = append(i.names, name)
			}
		}
		images = append(images, i)
	}
	return images, nil
}

// Close ends reading, of open streams too.
func (r *Reader) Close() error { return r.files.Close() }

// An Entry is one image of a Reader, as it lists them.
type Entry struct {
	v1.Descriptor
	Names []string // may be empty
}

// List returns all images.
func (r *Reader) List() []Entry {
	var all []Entry
	for _, i := range r.images {
		all = append(all, Entry{i.descriptor, i.names})
	}
	return all
}

// Resolve returns the manifest or index with a name: a tag, the name of an image,
// a digest, "@0" for the first in the list, or "" for the only one.
func (r *Reader) Resolve(_ context.Context, name string) (v1.Descriptor, error) {
	d, err := r.resolve(name)
	if err != nil {
		return d, fmt.Errorf("image %q of %s: %w", name, r.path, err)
	}
	return d, nil
}

func (r *Reader) resolve(name string) (v1.Descriptor, error) {
	if sum, err := reference.ParseDigest(name); err == nil {
		return r.resolveDigest(sum)
	}
	var found []image
	if at, isIndex := strings.CutPrefix(name, "@"); isIndex {
		n, err := strconv.Atoi(at)
		if err != nil || n < 0 || n >= len(r.images) {
			return v1.Descriptor{}, fmt.Errorf("there are %d images: %w", len(r.images), fs.ErrNotExist)
		}
		return plain(r.images[n].descriptor), nil
	}
	for _, i := range r.images {
		if name == "" || i.has(name) {
			found = append(found, i)
		}
	}
	for _, i := range found {
		if i.descriptor.Digest != found[0].descriptor.Digest {
			return v1.Descriptor{}, fmt.Errorf("several images; name one of: %s", r.names())
		}
	}
	if len(found) == 0 {
		return v1.Descriptor{}, fmt.Errorf("not one of its images (%s): %w", r.names(), fs.ErrNotExist)
	}
	return plain(found[0].descriptor), nil
}

// plain is a descriptor without what its index says of it.
func plain(d v1.Descriptor) v1.Descriptor {
	return v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

func (i image) has(name string) bool {
	for _, n := range i.names {
		if n == name || whole(n) == whole(name) {
			return true
		}
	}
	return false
}

// whole is the whole name of an image, if name is one.
func whole(name string) string {
	if ref, err := reference.Parse(name); err == nil {
		return ref.String()
	}
	return name
}

// names lists the images for a person.
func (r *Reader) names() string {
	const most = 10
	var all []string
	for n, i := range r.images {
		if n == most {
			all = append(all, "...")
			break
		}
		if len(i.names) == 0 {
			all = append(all, string(i.descriptor.Digest))
			continue
		}
		all = append(all, strconv.Quote(i.names[0]))
	}
	if len(all) == 0 {
		return "there are none"
	}
	return strings.Join(all, ", ")
}

// resolveDigest finds a manifest that need not be in the list.
func (r *Reader) resolveDigest(sum digest.Digest) (v1.Descriptor, error) {
	for _, i := range r.images {
		if i.descriptor.Digest == sum {
			return plain(i.descriptor), nil
		}
	}
	d := v1.Descriptor{Digest: sum}
	text, err := r.manifest(d)
	if err != nil {
		return d, err
	}
	var document struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return d, err
	}
	d.MediaType, d.Size = document.MediaType, int64(len(text))
	if d.MediaType == "" && document.Manifests != nil {
		d.MediaType = v1.MediaTypeImageIndex
	} else if d.MediaType == "" {
		d.MediaType = v1.MediaTypeImageManifest
	}
	return d, nil
}

// Manifest returns the manifest or index that d describes, verified.
func (r *Reader) Manifest(_ context.Context, d v1.Descriptor) ([]byte, error) {
	text, err := r.manifest(d)
	if err == nil && d.Size > 0 && int64(len(text)) != d.Size {
		err = fmt.Errorf("has %d bytes, want %d", len(text), d.Size)
	}
	if err != nil {
		return nil, fmt.Errorf("manifest %s of %s: %w", d.Digest, r.path, err)
	}
	return text, nil
}

func (r *Reader) manifest(d v1.Descriptor) ([]byte, error) {
	if text, ok := r.made[d.Digest]; ok {
		return text, nil
	}
	name, err := blobPath(d.Digest)
	if err != nil {
		return nil, err
	}
	text, err := r.document(name)
	if err != nil {
		return nil, err
	}
	if got := d.Digest.Algorithm().FromBytes(text); got != d.Digest {
		return nil, fmt.Errorf("has the digest %s", got)
	}
	return text, nil
}

// document reads a file that must be small.
func (r *Reader) document(name string) ([]byte, error) {
	f, err := r.files.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.size > maxDocument {
		return nil, fmt.Errorf("%s: %d bytes, want at most %d", name, f.size, maxDocument)
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.NewSectionReader(f, 0, f.size)); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b.Bytes(), nil
}

// Open returns the bytes of a blob from offset on, unverified.
func (r *Reader) Open(_ context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	s, err := r.open(d, offset)
	if err != nil {
		return nil, fmt.Errorf("blob %s of %s: %w", d.Digest, r.path, err)
	}
	return s, nil
}

func (r *Reader) open(d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if text, ok := r.made[d.Digest]; ok && offset >= 0 && offset <= int64(len(text)) {
		return io.NopCloser(bytes.NewReader(text[offset:])), nil
	}
	f, err := r.find(d.Digest)
	if err != nil {
		return nil, err
	}
	if f.size != d.Size || offset < 0 || offset > d.Size {
		f.Close()
		return nil, fmt.Errorf("%d bytes, want %d from %d on", f.size, d.Size, offset)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, offset, d.Size-offset), f}, nil
}

// Has tells whether a blob or manifest is there in its full size.
func (r *Reader) Has(_ context.Context, d v1.Descriptor) (bool, error) {
	if _, ok := r.made[d.Digest]; ok {
		return true, nil
	}
	f, err := r.find(d.Digest)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("blob %s of %s: %w", d.Digest, r.path, err)
	}
	defer f.Close()
	return f.size == d.Size, nil
}

func (r *Reader) find(sum digest.Digest) (*file, error) {
	if name, ok := r.paths[sum]; ok {
		return r.files.open(name)
	}
	name, err := blobPath(sum)
	if err != nil {
		return nil, err
	}
	return r.files.open(name)
}

// blobPath is where a blob is in a layout.
func blobPath(sum digest.Digest) (string, error) {
	if _, err := reference.ParseDigest(string(sum)); err != nil {
		return "", err
	}
	if !sum.Algorithm().Available() {
		return "", fmt.Errorf("digest algorithm %s is not supported", sum.Algorithm())
	}
	return v1.ImageBlobsDir + "/" + string(sum.Algorithm()) + "/" + sum.Encoded(), nil
}

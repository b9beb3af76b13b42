package layout

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/reference"
)

// A sample is a small image.
type sample struct {
	image    v1.Descriptor
	manifest []byte
	blobs    map[digest.Digest][]byte
	list     []v1.Descriptor // config and layers
}

func describe(mediaType string, b []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

// newSample makes an image with a layer for each text, of which every second is compressed.
func newSample(t *testing.T, texts ...string) sample {
	t.Helper()
	s := sample{blobs: map[digest.Digest][]byte{}}
	var ids []string
	var layers []v1.Descriptor
	for n, text := range texts {
		raw := layerOf(t, text)
		ids = append(ids, `"`+string(digest.FromBytes(raw))+`"`)
		d := describe(v1.MediaTypeImageLayer, raw)
		if n%2 == 1 {
			raw = gzipped(t, raw)
			d = describe(v1.MediaTypeImageLayerGzip, raw)
		}
		s.blobs[d.Digest] = raw
		layers = append(layers, d)
	}
	config := []byte(`{"architecture":"amd64","os":"linux","config":{"Cmd":["/x"]},"rootfs":{"type":"layers","diff_ids":[` + strings.Join(ids, ",") + `]}}`)
	d := describe(v1.MediaTypeImageConfig, config)
	s.blobs[d.Digest] = config
	s.list = append([]v1.Descriptor{d}, layers...)
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: d, Layers: layers}
	m.SchemaVersion = 2
	var err error
	if s.manifest, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	s.image = describe(m.MediaType, s.manifest)
	return s
}

func layerOf(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	_, err := io.WriteString(w, text)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t *testing.T, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(raw)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A sink is what an image can be written to.
type sink interface {
	Has(context.Context, v1.Descriptor) (bool, error)
	Put(context.Context, v1.Descriptor, io.Reader) error
	PutManifest(context.Context, string, v1.Descriptor, []byte) error
}

func (s sample) write(t *testing.T, to sink, name string) {
	t.Helper()
	ctx := t.Context()
	for _, d := range s.list {
		if err := to.Put(ctx, d, bytes.NewReader(s.blobs[d.Digest])); err != nil {
			t.Fatal(err)
		}
		if has, err := to.Has(ctx, d); err != nil || !has {
			t.Errorf("Has after Put = %v, %v", has, err)
		}
	}
	if err := to.PutManifest(ctx, name, s.image, s.manifest); err != nil {
		t.Fatal(err)
	}
}

// check reads an image back: by name the same manifest, and every blob.
func (s sample) check(t *testing.T, r *Reader, name string) {
	t.Helper()
	ctx := t.Context()
	d, err := r.Resolve(ctx, name)
	if err != nil || d.Digest != s.image.Digest || d.Size != s.image.Size || d.MediaType != s.image.MediaType {
		t.Errorf("Resolve(%q) = %+v, %v, want %+v", name, d, err, s.image)
		return
	}
	if text, err := r.Manifest(ctx, d); err != nil || !bytes.Equal(text, s.manifest) {
		t.Errorf("Manifest = %s, %v, want %s", text, err, s.manifest)
	}
	s.checkBlobs(t, r, s.list)
}

func (s sample) checkBlobs(t *testing.T, r *Reader, list []v1.Descriptor) {
	t.Helper()
	for _, d := range list {
		for _, offset := range []int64{0, 1, d.Size} {
			if got, err := read(t, r, d, offset); err != nil || !bytes.Equal(got, s.blobs[d.Digest][offset:]) {
				t.Errorf("Open(%s, %d): %d bytes, %v", d.Digest, offset, len(got), err)
			}
		}
	}
}

func read(t *testing.T, r *Reader, d v1.Descriptor, offset int64) ([]byte, error) {
	t.Helper()
	stream, err := r.Open(t.Context(), d, offset)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	return io.ReadAll(stream)
}

func open(t *testing.T, path string) *Reader {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func createDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := CreateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// writeArchive writes an archive of one image.
func (s sample) writeArchive(t *testing.T, kind reference.Kind, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	a, err := CreateArchive(path, kind)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, a, name)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	d := createDir(t, path)
	one, two := newSample(t, "1", "2", "3"), newSample(t, "2", "4")
	one.write(t, d, "one")
	two.write(t, d, "two")
	one.check(t, d.Reader, "one")
	r := open(t, path)
	one.check(t, r, "one")
	two.check(t, r, "two")
	two.check(t, r, string(two.image.Digest))
	_, err := r.Resolve(t.Context(), "")
	wantError(t, err, "several images", `"one", "two"`)
	_, err = r.Resolve(t.Context(), "three")
	wantError(t, err, `image "three" of `+path, `"one", "two"`)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	// A name goes to the last image that got it.
	two.write(t, createDir(t, path), "one")
	two.check(t, open(t, path), "one")
}

func wantError(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", want)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q, want %q in it", err, w)
		}
	}
}

func TestDirLeavesNothingOfABadBlob(t *testing.T) {
	path := t.TempDir()
	d := createDir(t, path)
	blob := describe("x", []byte("right"))
	wantError(t, d.Put(t.Context(), blob, strings.NewReader("wrong")), string(blob.Digest), "has the digest")
	wantError(t, d.Put(t.Context(), blob, strings.NewReader("rig")), "3 bytes, want 5")
	wantError(t, d.Put(t.Context(), blob, strings.NewReader("right and more")), "more than 5 bytes")
	var names []string
	_ = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
		return err
	})
	if want := []string{"index.json", "oci-layout"}; !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
}

func TestDirIsNotMadeAmongOtherFiles(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "letter.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := CreateDir(path)
	wantError(t, err, "not empty: letter.txt")
}

func TestDirWritersDoNotLoseNames(t *testing.T) {
	path := t.TempDir()
	s := newSample(t, "1")
	s.write(t, createDir(t, path), "0")
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			d, err := CreateDir(path)
			if err != nil {
				t.Error(err)
				return
			}
			defer d.Close()
			if err := d.PutManifest(t.Context(), fmt.Sprint("name", n), s.image, s.manifest); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := len(open(t, path).List()); got != 9 {
		t.Errorf("%d images are listed, want 9", got)
	}
}

func TestArchive(t *testing.T) {
	s := newSample(t, "1", "2", "3")
	s.check(t, open(t, s.writeArchive(t, reference.OCIArchive, "tag")), "tag")
	path := s.writeArchive(t, reference.DockerArchive, "docker.io/library/app:1")
	for _, name := range []string{"app:1", "docker.io/library/app:1", "1", "", "@0"} {
		s.check(t, open(t, path), name)
	}
}

func TestArchiveAppearsWhole(t *testing.T) {
	s := newSample(t, "1")
	dir := t.TempDir()
	a, err := CreateArchive(filepath.Join(dir, "a.tar"), reference.OCIArchive)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, a, "x")
	wantError(t, a.Put(t.Context(), describe("x", []byte("right")), strings.NewReader("wrong")), "has the digest")
	wantError(t, a.Close(), "has the digest")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// skopeo copies an image, as another implementation of all formats.
func skopeo(t *testing.T, from, to string) {
	t.Helper()
	program, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed (see packages.txt)")
	}
	out, err := exec.Command(program, "--insecure-policy", "copy", "-q", from, to).CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo copy %s %s: %v\n%s", from, to, err, out)
	}
}

func TestSkopeoReadsWhatWeWrite(t *testing.T) {
	s := newSample(t, "1", "2", "3")
	dir := t.TempDir()
	s.write(t, createDir(t, dir), "tag")
	for _, from := range []string{
		"oci:" + dir + ":tag",
		"oci-archive:" + s.writeArchive(t, reference.OCIArchive, "tag") + ":tag",
		"oci-archive:" + s.writeArchive(t, reference.OCIArchive, ""),
		"docker-archive:" + s.writeArchive(t, reference.DockerArchive, "app:1") + ":app:1",
	} {
		to := filepath.Join(t.TempDir(), "out")
		skopeo(t, from, "oci:"+to+":x")
		sameFiles(t, s, open(t, to), "x") // it compresses layers that are not
	}
}

func TestWeReadWhatSkopeoWrites(t *testing.T) {
	s := newSample(t, "1", "2", "3")
	dir := t.TempDir()
	s.write(t, createDir(t, dir), "tag")
	for _, to := range []string{"oci:%s:x", "oci-archive:%s:x", "docker-archive:%s:docker.io/library/x:latest"} {
		out := filepath.Join(t.TempDir(), "out")
		skopeo(t, "oci:"+dir+":tag", fmt.Sprintf(to, out))
		sameFiles(t, s, open(t, out), "x")
	}
}

// sameFiles checks that an image has the layers of s, however they are compressed.
func sameFiles(t *testing.T, s sample, r *Reader, name string) {
	t.Helper()
	d, err := r.Resolve(t.Context(), name)
	if err != nil {
		t.Error(err)
		return
	}
	text, err := r.Manifest(t.Context(), d)
	if err != nil {
		t.Error(err)
		return
	}
	var m v1.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Error(err)
		return
	}
	var got []string
	for _, l := range m.Layers {
		raw, err := read(t, r, l, 0)
		if err != nil || digest.FromBytes(raw) != l.Digest {
			t.Errorf("layer %s: %d bytes, %v", l.Digest, len(raw), err)
		}
		got = append(got, string(digest.FromBytes(gunzipped(t, raw))))
	}
	var want []string
	for _, l := range s.list[1:] {
		want = append(want, string(digest.FromBytes(gunzipped(t, s.blobs[l.Digest]))))
	}
	if !slices.Equal(got, want) {
		t.Errorf("layers %q, want %q", got, want)
	}
	if _, err := read(t, r, m.Config, 0); err != nil {
		t.Error(err)
	}
}

func gunzipped(t *testing.T, raw []byte) []byte {
	t.Helper()
	if compression(raw[:4]) == "" {
		return raw
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	raw, err = io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestDockerArchiveRefusesZstd(t *testing.T) {
	a := NewArchive(io.Discard, reference.DockerArchive)
	blob := []byte("\x28\xb5\x2f\xfd and so on")
	wantError(t, a.Put(t.Context(), describe(v1.MediaTypeImageLayerZstd, blob), bytes.NewReader(blob)), "zstd", "use an OCI archive")
	a = NewArchive(io.Discard, reference.OCIArchive)
	if err := a.Put(t.Context(), describe(v1.MediaTypeImageLayerZstd, blob), bytes.NewReader(blob)); err != nil {
		t.Error(err)
	}
}

// TestPodmanLoads loads a docker archive with layers that are compressed and others that are not.
func TestPodmanLoads(t *testing.T) {
	podman, err := exec.LookPath("podman")
	if err != nil {
		t.Skip("podman is not installed (see packages.txt)")
	}
	if os.Geteuid() != 0 {
		t.Skip("must run as root")
	}
	s := newSample(t, "1", "2", "3")
	path := s.writeArchive(t, reference.DockerArchive, "docker.io/library/box:1")
	dir := t.TempDir()
	cmd := exec.Command(podman, "--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs", "load", "-i", path)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "docker.io/library/box:1") {
		t.Errorf("podman load: %v\n%s", err, out)
	}
}

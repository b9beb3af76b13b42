package transfer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/layout"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// tarOf is a layer of files and, with a target after "->", hard links.
func tarOf(t testing.TB, files ...[2]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f[0], Mode: 0o644, Size: int64(len(f[1])), ModTime: time.Unix(1e9, 0)}
		if to, ok := strings.CutPrefix(f[1], "->"); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, to, 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(f[1])); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// large is what does not go into a pack with others.
var large = strings.Repeat("large ", 4000)

// layered adds an image of layers to a place and names it.
func (p *place) layered(t testing.TB, name string, layers ...[]byte) v1.Descriptor {
	t.Helper()
	fields := map[string]any{
		"architecture": "amd64", "os": "linux", "created": "2020-01-02T03:04:05Z", "x-unknown": map[string]int{"kept": 1},
		"config":  map[string]any{"Cmd": []string{"sh"}, "OnBuild": []string{"kept"}},
		"history": []any{map[string]any{"created_by": "one"}, map[string]any{"created_by": "two"}, map[string]any{"created_by": "three", "empty_layer": true}},
	}
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Annotations: map[string]string{"a": "b"},
	}
	var ids []digest.Digest
	for _, l := range layers {
		m.Layers = append(m.Layers, p.add(v1.MediaTypeImageLayer, l))
		ids = append(ids, digest.FromBytes(l))
	}
	fields["rootfs"] = map[string]any{"type": "layers", "diff_ids": ids}
	m.Config = p.document(t, v1.MediaTypeImageConfig, fields)
	d := p.document(t, m.MediaType, m)
	p.named[name] = d
	return d
}

// pulled is a store with an image of two layers.
func pulled(t *testing.T) (transfer.Stored, *place) {
	t.Helper()
	src, s := newPlace(), newStore(t)
	src.layered(t, "app", tarOf(t, [2]string{"bin/a", "a " + large}, [2]string{"bin/b", "->bin/a"}, [2]string{"gone", large}),
		tarOf(t, [2]string{".wh.gone", ""}, [2]string{"etc/conf", "small"}, [2]string{"bin/c", "->bin/a"}))
	got, err := transfer.Pull(t.Context(), src, "app", s, transfer.PullOptions{Names: []string{"example.org/app:1"}})
	if err != nil {
		t.Fatal(err)
	}
	return transfer.Stored{Store: s, Image: got.Image}, src
}

func TestPushIsUnchangedWhereTheLayersAre(t *testing.T) {
	s, src := pulled(t)
	dst := newPlace()
	for d, data := range src.blobs {
		dst.blobs[d] = data
	}
	m, _, err := s.Image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	delete(dst.blobs, m.Config.Digest) // the store has it
	got, err := transfer.Push(t.Context(), s, dst, "2", transfer.PushOptions{})
	if err != nil || got.Flat || dst.named["2"].Digest != s.Image.Digest || dst.blobs[m.Config.Digest] == nil {
		t.Errorf("Push = %+v, %v; named %v", got, err, dst.named)
	}
}

func TestPushOfOneLayerIsTheSameTree(t *testing.T) {
	s, _ := pulled(t)
	for _, how := range []layer.Compression{"", layer.None, layer.Gzip, layer.Zstd} {
		var trees [2]bytes.Buffer
		dst := newPlace()
		got, err := transfer.Push(t.Context(), s, dst, "2", transfer.PushOptions{Compression: how})
		if err != nil || !got.Flat || got.Desc.Digest == s.Image.Digest {
			t.Fatalf("Push = %+v, %v", got, err)
		}
		other := newStore(t)
		back, err := transfer.Pull(t.Context(), dst, "2", other, transfer.PullOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := transfer.Export(t.Context(), s, &trees[0], nil); err != nil {
			t.Fatal(err)
		}
		if err := transfer.Export(t.Context(), transfer.Stored{Store: other, Image: back.Image}, &trees[1], nil); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(trees[0].Bytes(), trees[1].Bytes()) {
			t.Errorf("%s: another tree came back", how)
		}
		checkConfig(t, back.Image)
		again := newPlace()
		if _, err := transfer.Push(t.Context(), s, again, "2", transfer.PushOptions{Compression: how}); err != nil || again.named["2"].Digest != got.Desc.Digest {
			t.Errorf("%s: pushed again it is %s, was %s (%v)", how, again.named["2"].Digest, got.Desc.Digest, err)
		}
	}
}

func checkConfig(t *testing.T, i *store.Image) {
	t.Helper()
	c, raw, err := i.Config()
	if err != nil {
		t.Fatal(err)
	}
	with := 0
	for _, h := range c.History {
		if !h.EmptyLayer {
			with++
		}
	}
	if len(c.RootFS.DiffIDs) != 1 || len(c.History) != 4 || with != 1 || c.History[0].CreatedBy != "one" {
		t.Errorf("config: %+v", c)
	}
	var more struct {
		Unknown map[string]int `json:"x-unknown"`
		Config  struct{ OnBuild []string }
	}
	if err := json.Unmarshal(raw, &more); err != nil || more.Unknown["kept"] != 1 || len(more.Config.OnBuild) != 1 {
		t.Errorf("fields that we do not know are lost: %s", raw)
	}
	m, _, err := i.Manifest()
	if err != nil || m.Annotations["a"] != "b" {
		t.Errorf("annotations %v, %v", m.Annotations, err)
	}
}

func TestDamagedObjectsDoNotLeave(t *testing.T) {
	s, _ := pulled(t)
	var objects []string
	err := filepath.WalkDir(s.Store.Objects().Path(), func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			objects = append(objects, path)
		}
		return err
	})
	if err != nil || len(objects) == 0 {
		t.Fatalf("objects %v, %v", objects, err)
	}
	for name, damage := range map[string]func(string) error{
		"changed": func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("LARGE ", 4000)+"ab"), 0o644) },
		"cut":     func(p string) error { return os.Truncate(p, 10) },
		"gone":    os.Remove,
	} {
		for _, o := range objects {
			if err := damage(o); err != nil {
				t.Fatal(err)
			}
		}
		dst := newPlace()
		if _, err := transfer.Push(t.Context(), s, dst, "2", transfer.PushOptions{}); err == nil || !strings.Contains(err.Error(), "bin/a") {
			t.Errorf("Push with objects %s = %v, want an error about bin/a", name, err)
		}
		if len(dst.named) > 0 {
			t.Errorf("Push with objects %s left %v", name, dst.named)
		}
		if err := transfer.Export(t.Context(), s, io.Discard, nil); err == nil {
			t.Errorf("Export with objects %s is no error", name)
		}
	}
}

func TestDamagedSmallFilesDoNotLeave(t *testing.T) {
	s, _ := pulled(t)
	packs, err := filepath.Glob(s.Store.Dir() + "/packs/*")
	if err != nil || len(packs) != 1 {
		t.Fatal(packs, err)
	}
	text, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(packs[0], bytes.Replace(text, []byte("small"), []byte("SMALL"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := transfer.Export(t.Context(), s, io.Discard, nil); err == nil || !strings.Contains(err.Error(), "etc/conf") {
		t.Errorf("Export = %v, want an error about etc/conf", err)
	}
}

func TestPackingEndsWithItsContext(t *testing.T) {
	s, _ := pulled(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := transfer.Flatten(ctx, s, layer.Gzip, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Flatten = %v", err)
	}
	f, err := transfer.Flatten(t.Context(), s, layer.None, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := f.Manifest(t.Context(), f.Desc)
	if err != nil {
		t.Fatal(err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	r, err := f.Open(t.Context(), m.Layers[0], 100)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, r, 10); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil { // with most of it unread
		t.Error(err)
	}
	if _, err := f.Open(t.Context(), v1.Descriptor{Digest: digest.FromString("other")}, 0); err == nil {
		t.Error("Open of another blob is no error")
	}
}

// archived is an archive of a place's image.
func archived(t *testing.T, src *place, kind reference.Kind) []byte {
	t.Helper()
	var b bytes.Buffer
	a := layout.NewArchive(&b, kind)
	if _, err := transfer.Copy(t.Context(), src, "app", a, "example.org/app:1", transfer.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRecordIsAsGoodAsAFile(t *testing.T) {
	first, src := pulled(t)
	for _, kind := range []reference.Kind{reference.OCIArchive, reference.DockerArchive} {
		s := newStore(t)
		r, err := transfer.Record(t.Context(), bytes.NewReader(archived(t, src, kind)), s, transfer.PullOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := transfer.Pull(t.Context(), r, "", s, transfer.PullOptions{})
		if err != nil || got.Image.Digest != first.Image.Digest {
			t.Fatalf("%s: Pull = %+v, %v", kind, got, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		a, err := first.Image.TreePath()
		if err != nil {
			t.Fatal(err)
		}
		b, err := got.Image.TreePath()
		if err != nil || filepath.Base(a) != filepath.Base(b) {
			t.Errorf("%s: trees %s and %s, %v", kind, a, b, err)
		}
		left, err := os.ReadDir(filepath.Join(s.Dir(), "tmp"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s: left in tmp: %v, %v", kind, left, err)
		}
	}
}

func TestRecordRefusesWhatIsNoArchive(t *testing.T) {
	_, src := pulled(t)
	good := archived(t, src, reference.OCIArchive)
	pull := func(text []byte) error {
		s := newStore(t)
		r, err := transfer.Record(t.Context(), bytes.NewReader(text), s, transfer.PullOptions{})
		if err == nil {
			_, err = transfer.Pull(t.Context(), r, "", s, transfer.PullOptions{})
			if cerr := r.Close(); cerr != nil {
				t.Error(cerr)
			}
		}
		if images, lerr := s.Images(); lerr != nil || err != nil && len(images) > 0 {
			t.Errorf("images %v, %v", images, lerr)
		}
		return err
	}
	if err := pull(good); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"nothing": nil, "text": []byte("text"), "zeros": make([]byte, 10240),
		"a changed file": bytes.Replace(good, []byte("large large"), []byte("LARGE large"), 1),
		"a changed name": bytes.Replace(good, []byte("etc/conf"), []byte("etc/CONF"), 1),
		"no lists":       tarOf(t, [2]string{"x", "y"}), "twice": append(bytes.TrimRight(good, "\x00"), good...),
		"a list alone": tarOf(t, [2]string{"manifest.json", `[{"Config":"c","Layers":["l"]}]`}),
		"a loop":       tarOf(t, [2]string{"index.json", "->index.json"}),
	} {
		if err := pull(text); err == nil {
			t.Errorf("%s is no error", name)
		}
	}
	whole := bytes.LastIndex(good, []byte("oci-layout")) // the last file, which nobody needs
	for n := 0; n < whole-512; n += 511 {
		if err := pull(good[:n]); err == nil {
			t.Fatalf("the first %d bytes of %d are no error", n, len(good))
		}
	}
}

package transfer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/blob"
	"tare.dev/tare/internal/transfer"
)

// place keeps images in memory, as a Source and as a Destination.
type place struct {
	blobs   map[digest.Digest][]byte
	named   map[string]v1.Descriptor
	others  map[string]map[digest.Digest][]byte // blobs of other repositories, to mount
	steps   []string
	fail    map[string]error // by step
	breaks  int              // how many uploads break half-way and are sent again
	refused error            // of each mount
}

func newPlace() *place {
	return &place{blobs: map[digest.Digest][]byte{}, named: map[string]v1.Descriptor{}, fail: map[string]error{}}
}

func (p *place) step(format string, args ...any) error {
	s := fmt.Sprintf(format, args...)
	p.steps = append(p.steps, s)
	for part, err := range p.fail {
		if strings.Contains(s, part) {
			return err
		}
	}
	return nil
}

func (p *place) Resolve(_ context.Context, name string) (v1.Descriptor, error) {
	d, ok := p.named[name]
	if !ok {
		return d, fmt.Errorf("resolve %s: %w", name, errNone)
	}
	return d, nil
}

var errNone = errors.New("none")

func (p *place) Manifest(_ context.Context, d v1.Descriptor) ([]byte, error) {
	text, ok := p.blobs[d.Digest]
	if !ok {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, errNone)
	}
	return text, nil
}

func (p *place) Open(_ context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if err := p.step("open %s", d.Digest.Encoded()[:8]); err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(p.blobs[d.Digest][offset:])), nil
}

func (p *place) Has(_ context.Context, d v1.Descriptor) (bool, error) {
	_, ok := p.blobs[d.Digest]
	return ok, p.step("has %s", d.Digest.Encoded()[:8])
}

func (p *place) Put(_ context.Context, d v1.Descriptor, r io.Reader) error {
	if err := p.step("put %s", d.Digest.Encoded()[:8]); err != nil {
		return err
	}
	if s, ok := r.(io.Seeker); ok && p.breaks > 0 {
		p.breaks--
		if _, err := io.CopyN(io.Discard, r, d.Size/2); err != nil {
			return err
		}
		if at, err := s.Seek(0, io.SeekCurrent); err != nil || at != d.Size/2 {
			return fmt.Errorf("seek: at %d, %w", at, err)
		}
		if _, err := s.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	p.blobs[d.Digest] = data
	return nil
}

func (p *place) PutManifest(_ context.Context, name string, d v1.Descriptor, text []byte) error {
	p.blobs[d.Digest], p.named[name] = text, d
	return p.step("manifest %s %s", name, d.Digest.Encoded()[:8])
}

func (p *place) Mount(_ context.Context, d v1.Descriptor, from string) (bool, error) {
	data, ok := p.others[from][d.Digest]
	if ok && p.refused == nil {
		p.blobs[d.Digest] = data
	}
	return ok, errors.Join(p.refused, p.step("mount %s %s", from, d.Digest.Encoded()[:8]))
}

func (p *place) add(mediaType string, data []byte) v1.Descriptor {
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	p.blobs[d.Digest] = data
	return d
}

func (p *place) document(t testing.TB, mediaType string, v any) v1.Descriptor {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return p.add(mediaType, text)
}

// image adds one for an architecture, with one layer of its own and one that all share.
func (p *place) image(t *testing.T, arch string) v1.Descriptor {
	t.Helper()
	d := p.document(t, v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: p.add(v1.MediaTypeImageConfig, []byte(`{"architecture":"`+arch+`"}`)),
		Layers: []v1.Descriptor{
			p.add(v1.MediaTypeImageLayer, []byte("what all share")), p.add(v1.MediaTypeImageLayer, []byte("only of "+arch)),
		},
	})
	d.Platform = &v1.Platform{OS: "linux", Architecture: arch}
	return d
}

// source has an index "both" of two images.
func source(t *testing.T) (p *place, one, two v1.Descriptor) {
	p = newPlace()
	one, two = p.image(t, "one"), p.image(t, "two")
	p.named["both"] = p.document(t, v1.MediaTypeImageIndex, v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []v1.Descriptor{one, two},
	})
	p.named["one"] = v1.Descriptor{Digest: one.Digest, Size: one.Size}
	return p, one, two
}

func TestCopyBringsAnIndexAfterAllItNames(t *testing.T) {
	src, _, _ := source(t)
	dst := newPlace()
	got, err := transfer.Copy(t.Context(), src, "both", dst, "as", transfer.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(dst.blobs) != len(src.blobs) || dst.named["as"].Digest != src.named["both"].Digest || got.Desc.Digest != src.named["both"].Digest {
		t.Errorf("%d blobs of %d, named %v", len(dst.blobs), len(src.blobs), dst.named)
	}
	for d, data := range src.blobs {
		if !bytes.Equal(dst.blobs[d], data) {
			t.Errorf("%s is %q there", d, dst.blobs[d])
		}
	}
	if last := dst.steps[len(dst.steps)-1]; !strings.HasPrefix(last, "manifest as ") {
		t.Errorf("the last step was %q", last)
	}
	shared := int64(len("what all share"))
	if got.Skipped != shared {
		t.Errorf("skipped %d bytes, want the %d that both images have", got.Skipped, shared)
	}
}

func TestCopyTakesOnePlatform(t *testing.T) {
	src, _, two := source(t)
	dst := newPlace()
	got, err := transfer.Copy(t.Context(), src, "both", dst, "as", transfer.CopyOptions{
		Choose: func(x v1.Index) (v1.Descriptor, error) { return x.Manifests[1], nil },
	})
	if err != nil || got.Desc.Digest != two.Digest || dst.named["as"].Digest != two.Digest || len(dst.blobs) != 4 {
		t.Errorf("Copy = %+v, %v, and %d blobs", got, err, len(dst.blobs))
	}
	if got.Desc.MediaType != v1.MediaTypeImageManifest {
		t.Errorf("media type %q", got.Desc.MediaType)
	}
}

func TestCopyTakesBlobsOver(t *testing.T) {
	src, _, _ := source(t)
	for name, refused := range map[string]error{"mounts": nil, "refuses": errors.New("no")} {
		t.Run(name, func(t *testing.T) {
			dst := newPlace()
			dst.others, dst.refused = map[string]map[digest.Digest][]byte{"other/repo": src.blobs}, refused
			got, err := transfer.Copy(t.Context(), src, "one", dst, "as", transfer.CopyOptions{From: []string{"none", "other/repo"}})
			if err != nil {
				t.Fatal(err)
			}
			if (got.Sent == 0) != (refused == nil) || (got.Mounted > 0) != (refused == nil) {
				t.Errorf("Copy = %+v", got)
			}
		})
	}
}

func TestCopySendsABlobAgain(t *testing.T) {
	src, _, _ := source(t)
	dst := newPlace()
	dst.breaks = 2
	if _, err := transfer.Copy(t.Context(), src, "one", dst, "as", transfer.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	for d, data := range dst.blobs {
		if !bytes.Equal(src.blobs[d], data) {
			t.Errorf("%s is %q there", d, data)
		}
	}
}

func TestCopyStopsAtTheFirstError(t *testing.T) {
	bad := errors.New("bad")
	for _, step := range []string{"has ", "put ", "manifest "} {
		src, _, _ := source(t)
		dst := newPlace()
		dst.fail[step] = bad
		if _, err := transfer.Copy(t.Context(), src, "both", dst, "as", transfer.CopyOptions{}); !errors.Is(err, bad) {
			t.Errorf("Copy with a failing %q = %v", step, err)
		}
		if i := slices.IndexFunc(dst.steps, func(s string) bool { return strings.HasPrefix(s, step) }); i != len(dst.steps)-1 {
			t.Errorf("after the failing %q: %q", step, dst.steps[i+1:])
		}
	}
}

func TestCopyRefusesWhatIsNoImage(t *testing.T) {
	src, one, _ := source(t)
	list := func(d v1.Descriptor) v1.Descriptor {
		return src.document(t, v1.MediaTypeImageIndex, v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []v1.Descriptor{d}})
	}
	deep := list(list(list(list(list(one)))))
	broken := src.image(t, "broken")
	for d, data := range src.blobs {
		if string(data) == "only of broken" {
			src.blobs[d] = []byte("only of nobody")
		}
	}
	gone := v1.Descriptor{Digest: digest.FromString("gone"), Size: 3}
	src.named = map[string]v1.Descriptor{
		"deep": deep, "broken": broken, "gone": gone, "lists gone": list(gone),
		"text": src.add(v1.MediaTypeImageManifest, []byte("no JSON")), "empty": src.add(v1.MediaTypeImageManifest, []byte(`{"schemaVersion":2}`)),
		"old": src.add(v1.MediaTypeImageManifest, []byte(`{"schemaVersion":1}`)),
	}
	for name, want := range map[string]error{
		"deep": transfer.ErrManifest, "broken": blob.ErrDigest, "gone": errNone, "lists gone": errNone, "text": transfer.ErrManifest,
		"empty": transfer.ErrManifest, "old": transfer.ErrManifest, "not there": errNone,
	} {
		dst := newPlace()
		_, err := transfer.Copy(t.Context(), src, name, dst, "as", transfer.CopyOptions{Blob: blob.Options{Attempts: -1}})
		if !errors.Is(err, want) {
			t.Errorf("Copy of %q = %v, want %v", name, err, want)
		}
		if _, ok := dst.named["as"]; ok {
			t.Errorf("Copy of %q left a name", name)
		}
	}
}

// Package transfer moves images between stores, registries and files.
package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/blob"
	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/toc"
	"tare.dev/tare/internal/tree"
)

// A Source is where images come from: a registry, or files.
type Source interface {
	// Resolve finds what a tag or digest leads to: a manifest or an index.
	Resolve(ctx context.Context, name string) (v1.Descriptor, error)
	// Manifest returns a manifest or an index, verified.
	Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error)
	// Open opens a blob at an offset. What comes is not verified.
	Open(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error)
}

// PullOptions of Pull. The zero value works.
type PullOptions struct {
	// Choose picks the manifest of an index that is for this machine, and says whether an image that no
	// index names is. Nil refuses an index and takes any image.
	Choose func(v1.Index) (v1.Descriptor, error)
	// Names are what the image is called once it is there.
	Names []string
	// Again fetches an image that is there, and puts it in the place of the one that is.
	Again bool
	// Progress is told of what happens. It must be quick.
	Progress func(Event)
	Limits   tree.Limits
	Layer    layer.Limits
	Blob     blob.Options
}

// An Event is a step of a transfer.
type Event struct {
	// Kind is "layer", "bytes" and "done" of a blob that is moved; "resume" of one whose connection
	// broke; "whole" of a layer all of which is fetched in spite of its table of contents, and why,
	// without Blob when that turned out late; "exists" of one that need not be moved; "pack" of an
	// image that is made into a layer, whose manifest Blob is then, and "packed" of the layer; "read"
	// of a stream without a digest.
	Kind    string
	Blob    digest.Digest
	Current int64 // bytes of the blob so far
	Total   int64
	Cause   error // of "resume" and "whole"
}

// Pulled is what Pull did.
type Pulled struct {
	Image  *store.Image
	Digest digest.Digest // of what the name leads to: the index, where there is one
	New    bool          // false: the image was there
	Stats
}

// Stats are what a pull moved.
type Stats struct {
	Fetched int64 // bytes of blobs
	Bytes   int64 // of regular files in all layers
	Written int64 // of new objects
	Files   int   // regular files in all layers
}

// ErrManifest is a manifest, index or config that is none we can use.
var ErrManifest = errors.New("not an image we can use")

const (
	maxConfig = 4 << 20
	maxLayers = 1024
)

// Pull brings an image into the store. When it returns without an error, the image lasts.
func Pull(ctx context.Context, src Source, name string, s *store.Store, o PullOptions) (Pulled, error) {
	if o.Progress == nil {
		o.Progress = func(Event) {}
	}
	p := &puller{fetcher: fetcher{src: src, blob: o.Blob, progress: o.Progress}, store: s, o: o}
	for _, name := range o.Names {
		if err := store.CheckName(name); err != nil {
			return Pulled{}, err
		}
	}
	top, err := src.Resolve(ctx, name)
	if err != nil {
		return Pulled{}, err
	}
	desc, raw, err := p.manifest(ctx, top)
	if err != nil {
		return Pulled{}, err
	}
	out := Pulled{Digest: top.Digest}
	for range 8 { // mirrors that lie, at most
		out.Image, out.New, err = p.image(ctx, desc, raw)
		if err == nil || !p.again(err) {
			break
		}
	}
	if p.have != nil {
		p.have.close()
	}
	p.stats.Fetched = p.fetched
	out.Stats = p.stats
	return out, err
}

type puller struct {
	fetcher
	store *store.Store
	o     PullOptions
	stats Stats
	have  *have // what the store has, once a layer with a table of contents needs it
	whole bool  // layers are fetched whole
}

// again tells whether it is worth it to begin anew after an error: without a mirror that lied, or
// without tables of contents when one did.
func (p *puller) again(err error) bool {
	again := p.mirrored.Swap(false)
	if errors.Is(err, toc.ErrUnusable) && !p.whole {
		p.o.Progress(Event{Kind: "whole", Cause: err})
		p.whole, again = true, true
	}
	if again {
		p.stats = Stats{Written: p.stats.Written}
	}
	return again
}

// manifest follows an index to the manifest for this machine.
func (p *puller) manifest(ctx context.Context, d v1.Descriptor) (v1.Descriptor, []byte, error) {
	raw, err := p.src.Manifest(ctx, d)
	if err != nil {
		return d, nil, err
	}
	if !IsIndex(d.MediaType, raw) {
		return d, raw, nil
	}
	var index v1.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return d, nil, fmt.Errorf("index %s: %w: %w", d.Digest, ErrManifest, err)
	}
	if p.o.Choose == nil {
		return d, nil, fmt.Errorf("index %s: of several images, where one is wanted: %w", d.Digest, ErrManifest)
	}
	chosen, err := p.o.Choose(index)
	if err != nil {
		return d, nil, fmt.Errorf("index %s: %w", d.Digest, err)
	}
	if raw, err = p.src.Manifest(ctx, chosen); err != nil {
		return d, nil, err
	}
	if IsIndex(chosen.MediaType, raw) {
		return d, nil, fmt.Errorf("index %s: leads to another index: %w", d.Digest, ErrManifest)
	}
	return chosen, raw, nil
}

// IsIndex tells an index from a manifest, by its own word rather than the descriptor's.
func IsIndex(mediaType string, raw []byte) bool {
	var probe struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
		Layers    []json.RawMessage `json:"layers"`
	}
	if json.Unmarshal(raw, &probe) != nil {
		return false
	}
	if probe.MediaType != "" {
		mediaType = probe.MediaType
	}
	switch mediaType {
	case v1.MediaTypeImageIndex, "application/vnd.docker.distribution.manifest.list.v2+json":
		return true
	}
	return probe.Layers == nil && probe.Manifests != nil
}

// image makes the image of a manifest.
func (p *puller) image(ctx context.Context, d v1.Descriptor, raw []byte) (*store.Image, bool, error) {
	m, err := parseManifest(d, raw)
	if err != nil {
		return nil, false, err
	}
	there, again := p.there(d.Digest)
	if there != nil && !again {
		config, _, err := there.Config()
		if err == nil {
			err = p.suits(d, config)
		}
		if err != nil {
			return nil, false, err
		}
		p.o.Progress(Event{Kind: "exists", Blob: d.Digest})
		return there, false, p.name(there)
	}
	config, rawConfig, err := p.config(ctx, m.Config)
	if err != nil {
		return nil, false, err
	}
	if err := p.suits(d, config); err != nil {
		return nil, false, err
	}
	if got, want := len(config.RootFS.DiffIDs), len(m.Layers); got != want && !isPacked(m) {
		return nil, false, fmt.Errorf("manifest %s: %d layers, and %d in its config: %w", d.Digest, want, got, ErrManifest)
	}
	stage, err := p.store.Stage()
	if err != nil {
		return nil, false, err
	}
	defer stage.Close()
	if r, ok := p.src.(*Recording); ok {
		stage.UseSmall(r.small)
	}
	if err := p.content(ctx, m, config, stage); err != nil {
		return nil, false, err
	}
	commit := stage.Commit
	if again {
		commit = stage.Replace
	}
	i, err := commit(d.Digest, raw, rawConfig, p.o.Names...)
	if err != nil {
		return i, true, err
	}
	for _, l := range m.Layers {
		err = errors.Join(err, stage.DropLayer(l.Digest))
	}
	return i, true, err
}

// there is the image when the store has it, and whether it must be fetched all the same: because that
// was asked for, or because its own files are damaged. Its objects are verify's business.
func (p *puller) there(d digest.Digest) (i *store.Image, again bool) {
	i, err := p.store.Image(d)
	if err != nil {
		return nil, false
	}
	return i, p.o.Again || i.Check() != nil
}

// suits refuses an image for another machine, where no index said for which it is. An image that says
// nothing is taken.
func (p *puller) suits(d v1.Descriptor, config v1.Image) error {
	if p.o.Choose == nil || d.Platform != nil || config.Architecture == "" {
		return nil
	}
	is := config.Platform
	if is.OS == "" {
		is.OS = "linux"
	}
	d.Platform = &is
	if _, err := p.o.Choose(v1.Index{Manifests: []v1.Descriptor{d}}); err != nil {
		return fmt.Errorf("image %s: %w", d.Digest, err)
	}
	return nil
}

func (p *puller) name(i *store.Image) error {
	for _, name := range p.o.Names {
		if err := p.store.Tag(i, name); err != nil {
			return err
		}
	}
	return nil
}

func (p *puller) content(ctx context.Context, m v1.Manifest, config v1.Image, stage *store.Stage) error {
	if isPacked(m) {
		return p.packed(ctx, m, stage)
	}
	return p.layers(ctx, m, config, stage)
}

func (p *puller) layers(ctx context.Context, m v1.Manifest, config v1.Image, stage *store.Stage) error {
	b := tree.NewBuilder(stage.Tree(), p.o.Limits)
	for n, d := range m.Layers {
		if n > 0 {
			b.NextLayer()
		}
		p.o.Progress(Event{Kind: "layer", Blob: d.Digest, Total: d.Size})
		last := n == len(m.Layers)-1
		stats, err := p.keptLayer(ctx, d, config.RootFS.DiffIDs[n], b, stage, last)
		p.stats.Bytes += stats.Bytes
		p.stats.Written += stats.Written
		p.stats.Files += stats.Files
		if err != nil {
			p.suspect(d, err)
			return err
		}
		p.o.Progress(Event{Kind: "done", Blob: d.Digest, Current: d.Size, Total: d.Size})
	}
	if _, err := b.Finish(); err != nil {
		return fmt.Errorf("tree: %w", err)
	}
	return nil
}

// keptLayer adds one to the tree: from what an earlier pull has kept of it, or kept for a later one, unless it is the last.
func (p *puller) keptLayer(ctx context.Context, d v1.Descriptor, diffID digest.Digest, b layer.Builder, stage *store.Stage, last bool) (layer.Stats, error) {
	if _, piped := p.src.(*Recording); piped {
		return p.layer(ctx, d, diffID, b, stage)
	}
	if stats, done, err := p.resume(d, diffID, b, stage); done || err != nil {
		return stats, err
	}
	if last || d.Size < worthKeeping {
		return p.layer(ctx, d, diffID, b, stage)
	}
	k, err := keep(d, b, stage)
	if err != nil {
		return layer.Stats{}, err
	}
	defer k.close()
	stats, err := p.layer(ctx, d, diffID, k, stage)
	if err != nil {
		return stats, err
	}
	return stats, k.done(diffID, stats)
}

// layer adds one to the tree.
func (p *puller) layer(ctx context.Context, d v1.Descriptor, diffID digest.Digest, b layer.Builder, stage *store.Stage) (layer.Stats, error) {
	if r, ok := p.src.(*Recording); ok {
		return r.replay(d, diffID, taking{b, stage})
	}
	if stats, done, err := p.partial(ctx, d, b, stage); done || err != nil {
		return stats, err
	}
	return layer.Unpack(ctx, p.opener(d), layer.Layer{
		Name: d.Digest.String(), Size: d.Size, DiffID: diffID, Limits: p.o.Layer, Skip: partsOnly(d),
	}, b, stage)
}

// config fetches and parses the config, which is small.
func (p *puller) config(ctx context.Context, d v1.Descriptor) (v1.Image, []byte, error) {
	var config v1.Image
	if d.Size > maxConfig {
		return config, nil, fmt.Errorf("config %s: %d bytes: %w", d.Digest, d.Size, ErrManifest)
	}
	r, err := p.open(ctx, d)
	if err != nil {
		return config, nil, err
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		return config, nil, fmt.Errorf("config %s: %w", d.Digest, err)
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return config, nil, fmt.Errorf("config %s: %w: %w", d.Digest, ErrManifest, err)
	}
	return config, raw, nil
}

// parseManifest reads a manifest of OCI or of Docker's schema 2, which have the same fields.
func parseManifest(d v1.Descriptor, raw []byte) (v1.Manifest, error) {
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("manifest %s: %w: %w", d.Digest, ErrManifest, err)
	}
	refuse := func(why string, args ...any) (v1.Manifest, error) {
		return m, fmt.Errorf("manifest %s: %s: %w", d.Digest, fmt.Sprintf(why, args...), ErrManifest)
	}
	switch {
	case m.SchemaVersion != 2:
		return refuse("schema version %d", m.SchemaVersion)
	case m.Config.Digest == "":
		return refuse("no config")
	case len(m.Layers) > maxLayers:
		return refuse("%d layers", len(m.Layers))
	}
	for _, l := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if _, err := blob.Hash(l.Digest); err != nil {
			return refuse("%v", err)
		}
		if l.Size < 0 {
			return refuse("blob %s has %d bytes", l.Digest, l.Size)
		}
	}
	return m, nil
}

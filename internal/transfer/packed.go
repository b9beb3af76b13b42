package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	digest "github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/pack"
	"tare.dev/tare/internal/store"
)

// isPacked tells an image of packs: a tree, then packs.
func isPacked(m v1.Manifest) bool {
	if len(m.Layers) < 2 || m.Layers[0].MediaType != store.MediaTypeTree {
		return false
	}
	for _, l := range m.Layers[1:] {
		if l.MediaType != store.MediaTypePack {
			return false
		}
	}
	return true
}

// packed fetches an image of packs: each blob goes to its final place as it is.
func (p *puller) packed(ctx context.Context, m v1.Manifest, stage *store.Stage) error {
	for n, d := range m.Layers {
		p.o.Progress(Event{Kind: "layer", Blob: d.Digest, Total: d.Size})
		open := func() (io.ReadCloser, error) { return p.open(ctx, d) }
		written, err := int64(0), error(nil)
		if n == 0 {
			err = p.treeBlob(open, stage)
		} else {
			written, err = stage.Pack(d, open)
		}
		p.stats.Written += written
		p.stats.Bytes += written
		if err != nil {
			return err
		}
		p.o.Progress(Event{Kind: "done", Blob: d.Digest, Current: d.Size, Total: d.Size})
	}
	return nil
}

// treeBlob copies the metadata image.
func (p *puller) treeBlob(open func() (io.ReadCloser, error), stage *store.Stage) error {
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(io.NewOffsetWriter(stage.Tree(), 0), r); err != nil {
		return fmt.Errorf("tree: %w", err)
	}
	return nil
}

// PackOptions of Pack. The zero value works.
type PackOptions struct {
	pack.Options
	// Base are images of packs in the store that devices have already: what is in their packs is
	// not packed again.
	Base []*store.Image
}

// Packed is an image of packs that was made of another; a Source with that one image. Its config is
// the same, so it runs the same. Devices keep it compressed, and read it through the same pages.
type Packed struct {
	Desc    v1.Descriptor
	Objects int   // in the new pack
	Bytes   int64 // of them, uncompressed
	Pack    int64 // bytes of the new pack

	store    *store.Store
	image    *store.Image
	manifest []byte
	config   []byte
	layers   []v1.Descriptor
	files    map[digest.Digest]string
}

// Pack makes an image of packs of an image in the store. The new pack is made in dir, which the caller
// removes when it is done with the source.
func Pack(ctx context.Context, s *store.Store, i *store.Image, dir string, o PackOptions) (*Packed, error) {
	p := &Packed{store: s, image: i, files: map[digest.Digest]string{}}
	if err := p.make(ctx, dir, o); err != nil {
		return nil, fmt.Errorf("pack %s: %w", i.Digest, err)
	}
	return p, nil
}

func (p *Packed) make(ctx context.Context, dir string, o PackOptions) error {
	path, err := p.image.TreePath()
	if err != nil {
		return err
	}
	if err := p.layer(store.MediaTypeTree, path); err != nil {
		return err
	}
	have, err := p.bases(o.Base)
	if err != nil {
		return err
	}
	if err := p.pack(ctx, dir, have, o.Options); err != nil {
		return err
	}
	return p.describe()
}

// layer makes a file a layer.
func (p *Packed) layer(mediaType, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	d, err := digest.FromReader(f)
	if err != nil {
		return err
	}
	p.files[d] = path
	p.layers = append(p.layers, v1.Descriptor{MediaType: mediaType, Digest: d, Size: info.Size()})
	return nil
}

// bases takes over the packs of the base images, and tells what is in them.
func (p *Packed) bases(images []*store.Image) (map[object.Digest]bool, error) {
	have := map[object.Digest]bool{}
	for _, base := range images {
		packs, err := base.FetchedPacks()
		if err != nil {
			return nil, err
		}
		if len(packs) == 0 {
			return nil, fmt.Errorf("base %s: is no image of packs", base.Digest)
		}
		for _, d := range packs {
			if p.files[d] != "" {
				continue
			}
			if err := p.layer(store.MediaTypePack, p.store.PackPath(d)); err != nil {
				return nil, err
			}
		}
		if err := p.store.Fetched(base, func(d object.Digest) { have[d] = true }); err != nil {
			return nil, err
		}
	}
	return have, nil
}

// pack packs what the bases lack.
func (p *Packed) pack(ctx context.Context, dir string, have map[object.Digest]bool, o pack.Options) error {
	c, err := p.store.Contents(p.image)
	if err != nil {
		return err
	}
	defer c.Close()
	var objects []pack.Object
	err = p.image.Objects(func(_ string, d object.Digest, size int64) error {
		if have[d] {
			return nil
		}
		have[d] = true
		p.Bytes += size
		objects = append(objects, pack.Object{Digest: d, Open: func() (io.ReadCloser, error) {
			r, _, err := c.Open(d)
			return r, err
		}})
		return nil
	})
	if err != nil {
		return err
	}
	p.Objects = len(objects)
	if len(objects) == 0 && len(p.layers) > 1 {
		return nil
	}
	out := filepath.Join(dir, "pack.erofs")
	if p.Pack, err = pack.Make(ctx, objects, out, o); err != nil {
		return err
	}
	return p.layer(store.MediaTypePack, out)
}

func (p *Packed) describe() error {
	m, _, err := p.image.Manifest()
	if err != nil {
		return err
	}
	if _, p.config, err = p.image.Config(); err != nil {
		return err
	}
	p.manifest, err = json.Marshal(v1.Manifest{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   v1.MediaTypeImageManifest,
		Config:      v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: m.Config.Digest, Size: int64(len(p.config))},
		Layers:      p.layers,
		Annotations: map[string]string{"dev.tare.packed-from": p.image.Digest.String()},
	})
	p.Desc = v1.Descriptor{
		MediaType: v1.MediaTypeImageManifest, Digest: digest.FromBytes(p.manifest), Size: int64(len(p.manifest)),
	}
	return err
}

// Resolve returns the one image there is.
func (p *Packed) Resolve(context.Context, string) (v1.Descriptor, error) { return p.Desc, nil }

// Manifest returns its manifest.
func (p *Packed) Manifest(context.Context, v1.Descriptor) ([]byte, error) { return p.manifest, nil }

// Open opens its config, its tree or a pack.
func (p *Packed) Open(_ context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	path, ok := p.files[d.Digest]
	if !ok {
		return io.NopCloser(bytes.NewReader(p.config[min(offset, int64(len(p.config))):])), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

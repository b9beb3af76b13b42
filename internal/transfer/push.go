package transfer

import (
	"bytes"
	"context"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/store"
)

// PushOptions of Push. The zero value works.
type PushOptions struct {
	CopyOptions
	Compression layer.Compression // of the one layer; gzip unless set
	// Flatten sends one layer even where the destination has those of the image.
	Flatten bool
}

// Pushed is what Push did.
type Pushed struct {
	Copied
	Flat bool // the image went as one layer, and has another digest there
}

// Push brings an image of the store to a destination. Where all its layers are there already, or can
// be taken over from another repository, it becomes the same image, by the same digest. Otherwise it
// goes as one layer (Flat).
func Push(ctx context.Context, s Stored, dst Destination, as string, o PushOptions) (Pushed, error) {
	if o.Progress == nil {
		o.Progress = func(Event) {}
	}
	if o.Compression == "" {
		o.Compression = layer.Gzip
	}
	if !o.Flatten {
		done, err := unchanged(ctx, s.Image, dst, as, o.CopyOptions)
		if err != nil || done != nil {
			return Pushed{Copied: deref(done)}, err
		}
	}
	f, err := Flatten(ctx, s, o.Compression, o.Progress)
	if err != nil {
		return Pushed{}, err
	}
	copied, err := Copy(ctx, f, "", dst, as, o.CopyOptions)
	return Pushed{Copied: copied, Flat: true}, err
}

func deref(c *Copied) Copied {
	if c == nil {
		return Copied{}
	}
	return *c
}

// unchanged pushes the image as it came, which needs its layers to be there. It returns nil when one
// is not.
func unchanged(ctx context.Context, i *store.Image, dst Destination, as string, o CopyOptions) (*Copied, error) {
	m, raw, err := i.Manifest()
	if err != nil {
		return nil, err
	}
	_, config, err := i.Config()
	if err != nil {
		return nil, err
	}
	c := copier{dst: dst, o: o}
	for _, l := range m.Layers {
		if have, err := c.there(ctx, l); err != nil || !have {
			return nil, err
		}
	}
	have, err := c.there(ctx, m.Config)
	if err != nil {
		return nil, err
	}
	if !have {
		if err := dst.Put(ctx, m.Config, bytes.NewReader(config)); err != nil {
			return nil, err
		}
		c.done.Sent += m.Config.Size
	}
	c.done.Desc = v1.Descriptor{MediaType: mediaType(raw), Digest: i.Digest, Size: int64(len(raw))}
	return &c.done, dst.PutManifest(ctx, as, c.done.Desc, raw)
}

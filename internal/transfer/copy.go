package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/blob"
)

// A Destination is where images go: a registry, or files.
type Destination interface {
	// Has tells whether a blob is there.
	Has(ctx context.Context, d v1.Descriptor) (bool, error)
	// Put brings a blob. Where r is an io.Seeker, it may be read again.
	Put(ctx context.Context, d v1.Descriptor, r io.Reader) error
	// PutManifest brings a manifest or index whose blobs are there, and gives it the name: none
	// where that is its digest.
	PutManifest(ctx context.Context, name string, d v1.Descriptor, text []byte) error
}

// A mounter can take a blob over from another repository of its registry.
type mounter interface {
	Mount(ctx context.Context, d v1.Descriptor, from string) (bool, error)
}

// CopyOptions of Copy and Push. The zero value works.
type CopyOptions struct {
	// Choose picks one manifest of an index. Nil copies the index with all of them.
	Choose func(v1.Index) (v1.Descriptor, error)
	// From are repositories at the destination's registry that may have the blobs.
	From     []string
	Progress func(Event)
	Blob     blob.Options
}

// Copied is what Copy or Push did.
type Copied struct {
	Desc    v1.Descriptor // what has the name at the destination now
	Sent    int64         // bytes of blobs
	Skipped int64         // bytes of blobs that were there
	Mounted int64         // bytes of blobs taken over from another repository
}

// Copy copies an image byte by byte, without the store. Blobs that the destination has are not
// fetched.
func Copy(ctx context.Context, src Source, name string, dst Destination, as string, o CopyOptions) (Copied, error) {
	if o.Progress == nil {
		o.Progress = func(Event) {}
	}
	c := copier{fetcher: fetcher{src: src, blob: o.Blob, progress: o.Progress}, dst: dst, o: o}
	top, err := src.Resolve(ctx, name)
	if err != nil {
		return c.done, err
	}
	c.done.Desc, err = c.document(ctx, top, as, 0)
	return c.done, err
}

type copier struct {
	fetcher
	dst  Destination
	o    CopyOptions
	done Copied
}

// maxNesting is how deep an index may lie in others.
const maxNesting = 3

// document copies a manifest or an index with all that it names, which it comes after: whoever
// sees it finds the rest. It returns what was given the name.
func (c *copier) document(ctx context.Context, d v1.Descriptor, as string, depth int) (v1.Descriptor, error) {
	raw, err := c.src.Manifest(ctx, d)
	if err != nil {
		return d, err
	}
	if d.MediaType == "" {
		d.MediaType = mediaType(raw)
	}
	if as == "" && depth > 0 {
		as = d.Digest.String()
	}
	if !IsIndex(d.MediaType, raw) {
		if err := c.blobs(ctx, d, raw); err != nil {
			return d, err
		}
		return d, c.dst.PutManifest(ctx, as, d, raw)
	}
	var index v1.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return d, fmt.Errorf("index %s: %w: %w", d.Digest, ErrManifest, err)
	}
	if depth == maxNesting {
		return d, fmt.Errorf("index %s: in more than %d others: %w", d.Digest, maxNesting, ErrManifest)
	}
	if c.o.Choose != nil {
		chosen, err := c.o.Choose(index)
		if err != nil {
			return d, fmt.Errorf("index %s: %w", d.Digest, err)
		}
		return c.document(ctx, chosen, as, maxNesting)
	}
	for _, m := range index.Manifests {
		if _, err := c.document(ctx, m, "", depth+1); err != nil {
			return d, err
		}
	}
	return d, c.dst.PutManifest(ctx, as, d, raw)
}

func mediaType(raw []byte) string {
	var m struct {
		MediaType string `json:"mediaType"`
	}
	switch err := json.Unmarshal(raw, &m); {
	case err == nil && m.MediaType != "":
		return m.MediaType
	case IsIndex("", raw):
		return v1.MediaTypeImageIndex
	}
	return v1.MediaTypeImageManifest
}

func (c *copier) blobs(ctx context.Context, d v1.Descriptor, raw []byte) error {
	m, err := parseManifest(d, raw)
	if err != nil {
		return err
	}
	for _, l := range m.Layers {
		have, err := c.there(ctx, l)
		if err != nil {
			return err
		}
		if have {
			continue
		}
		c.o.Progress(Event{Kind: "layer", Blob: l.Digest, Total: l.Size})
		if err := c.send(ctx, l); err != nil {
			return err
		}
		c.o.Progress(Event{Kind: "done", Blob: l.Digest, Current: l.Size, Total: l.Size})
	}
	if have, err := c.there(ctx, m.Config); err != nil || have {
		return err
	}
	return c.send(ctx, m.Config)
}

func (c *copier) send(ctx context.Context, d v1.Descriptor) error {
	r := &again{copier: c, ctx: ctx, d: d}
	err := c.dst.Put(ctx, d, r)
	if err := errors.Join(err, r.close()); err != nil {
		return err
	}
	c.done.Sent += d.Size
	return nil
}

// there tells whether the destination has a blob, or could take it over.
func (c *copier) there(ctx context.Context, d v1.Descriptor) (bool, error) {
	have, err := c.dst.Has(ctx, d)
	if err != nil {
		return false, err
	}
	if have {
		c.o.Progress(Event{Kind: "exists", Blob: d.Digest, Current: d.Size, Total: d.Size})
		c.done.Skipped += d.Size
		return true, nil
	}
	m, ok := c.dst.(mounter)
	if !ok {
		return false, nil
	}
	for _, from := range c.o.From {
		// A registry that will not, or does not let us read there, is no reason to give up.
		if done, err := m.Mount(ctx, d, from); err == nil && done {
			c.o.Progress(Event{Kind: "exists", Blob: d.Digest, Current: d.Size, Total: d.Size})
			c.done.Mounted += d.Size
			return true, nil
		}
	}
	return false, nil
}

// again is a blob that can be read from its start again, for a destination whose connection
// breaks.
type again struct {
	*copier
	ctx context.Context
	d   v1.Descriptor
	r   io.ReadCloser
	at  int64
}

func (a *again) Read(b []byte) (int, error) {
	if a.r == nil {
		r, err := a.open(a.ctx, a.d)
		if err != nil {
			return 0, err
		}
		a.r = r
	}
	n, err := a.r.Read(b)
	a.at += int64(n)
	return n, err
}

// Seek tells where the reader is, and goes back to the start.
func (a *again) Seek(offset int64, whence int) (int64, error) {
	switch {
	case whence == io.SeekCurrent && offset == 0:
		return a.at, nil
	case whence == io.SeekStart && offset == 0:
		a.at = 0
		return 0, a.close()
	}
	return 0, fmt.Errorf("blob %s: seek to %d: %w", a.d.Digest, offset, errors.ErrUnsupported)
}

func (a *again) close() error {
	if a.r == nil {
		return nil
	}
	r := a.r
	a.r = nil
	return r.Close()
}

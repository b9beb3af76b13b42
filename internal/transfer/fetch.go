package transfer

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sync/atomic"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/blob"
	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/object"
)

// A fetcher opens the blobs of a source, and tells how they come.
type fetcher struct {
	src      Source
	blob     blob.Options
	progress func(Event)
	fetched  int64 // bytes of blobs
	// mirrored tells that wrong bytes came from a mirror, which is not asked again.
	mirrored atomic.Bool
}

// A suspecter has mirrors: told that a blob was wrong, it says whether another place may have it right.
type suspecter interface {
	Suspect(d v1.Descriptor) bool
}

// suspect is called when a blob is no good: wrong bytes may be seen long before their digest is.
func (f *fetcher) suspect(d v1.Descriptor, err error) {
	var disk *fs.PathError
	if errors.As(err, &disk) || errors.Is(err, object.ErrReserve) || errors.Is(err, context.Canceled) {
		return // no mirror's fault
	}
	if s, ok := f.src.(suspecter); ok && s.Suspect(d) {
		f.mirrored.Store(true)
	}
}

// open opens a blob that is verified at its end and goes on after a broken connection.
func (f *fetcher) open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	o := f.blob
	o.Resumed = func(at int64, cause error) {
		f.progress(Event{Kind: "resume", Blob: d.Digest, Current: at, Total: d.Size, Cause: cause})
	}
	r, err := blob.NewReader(ctx, d, func(ctx context.Context, at int64) (io.ReadCloser, error) {
		return f.src.Open(ctx, d, at)
	}, o)
	if err != nil {
		return nil, err
	}
	return &counted{Reader: r, f: f, d: d}, nil
}

// A parter opens a blob up to a byte, and sends no more.
type parter interface {
	OpenPart(ctx context.Context, d v1.Descriptor, from, to int64) (io.ReadCloser, error)
}

// openPart opens a blob from a byte up to another, and goes on after a broken connection. The blob's
// end, at which all of it would be verified, must not be reached.
func (f *fetcher) openPart(ctx context.Context, d v1.Descriptor, from, to int64) (io.ReadCloser, error) {
	o := f.blob
	o.Resumed = func(at int64, cause error) {
		f.progress(Event{Kind: "resume", Blob: d.Digest, Current: from + at, Total: d.Size, Cause: cause})
	}
	rest := d
	rest.Size -= from
	r, err := blob.NewReader(ctx, rest, func(ctx context.Context, at int64) (io.ReadCloser, error) {
		if p, ok := f.src.(parter); ok {
			return p.OpenPart(ctx, d, from+at, to)
		}
		return f.src.Open(ctx, d, from+at)
	}, o)
	if err != nil {
		return nil, err
	}
	return &counted{Reader: r, f: f, d: d, read: from, told: from}, nil
}

// opener opens that blob when its layer is unpacked.
func (f *fetcher) opener(d v1.Descriptor) layer.Opener {
	return func(ctx context.Context) (io.ReadCloser, error) { return f.open(ctx, d) }
}

// counted reports what was read.
type counted struct {
	*blob.Reader
	f    *fetcher
	d    v1.Descriptor
	read int64
	told int64
}

const tellEvery = 256 << 10

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.read += int64(n)
	c.f.fetched += int64(n)
	if errors.Is(err, blob.ErrDigest) || errors.Is(err, blob.ErrSize) {
		c.f.suspect(c.d, err)
	}
	if c.read-c.told >= tellEvery {
		c.told = c.read
		c.f.progress(Event{Kind: "bytes", Blob: c.d.Digest, Current: c.read, Total: c.d.Size})
	}
	return n, err
}

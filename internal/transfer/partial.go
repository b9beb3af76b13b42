package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/toc"
)

// mostly is how many percent of a layer may be missing before it is fetched whole: then there is
// little to save, and the stream is checked against its diff id, too.
const mostly = 70

// A partial is a layer of which only the files are fetched that the store lacks.
type partial struct {
	*puller
	desc   v1.Descriptor
	table  *toc.Table
	there  []bool // by entry: its contents need not be fetched
	spans  []span // of the blob, that are to be fetched
	stage  *store.Stage
	tree   layer.Builder
	unpack *unpacking
	stats  layer.Stats
	limit  int64
}

// partial adds a layer to the tree by its table of contents. It returns false, and has added nothing,
// when the layer is to be fetched whole. An error that is toc.ErrUnusable says that the table and the
// layer do not agree.
func (p *puller) partial(ctx context.Context, d v1.Descriptor, b layer.Builder, stage *store.Stage) (layer.Stats, bool, error) {
	place, err := toc.Find(d)
	if place == nil && err == nil || p.whole || p.o.Again { // what is there may be damaged
		return layer.Stats{}, false, nil
	}
	l := partial{puller: p, desc: d, stage: stage, tree: b, limit: layer.Layer{Size: d.Size, Limits: p.o.Layer}.Limit()}
	if err == nil {
		err = l.plan(ctx, place)
	}
	switch {
	case errors.Is(err, toc.ErrUnusable), errors.Is(err, errMostly), errors.Is(err, errors.ErrUnsupported):
		p.o.Progress(Event{Kind: "whole", Blob: d.Digest, Total: d.Size, Cause: err})
		return layer.Stats{}, false, nil
	case err != nil:
		return layer.Stats{}, false, fmt.Errorf("layer %s: %w", d.Digest, err)
	}
	l.unpack = newUnpacking(l.table.Format, &cursor{spans: l.spans, open: func(from, to int64) (io.ReadCloser, error) {
		return p.openPart(ctx, d, from, to)
	}})
	defer l.unpack.close()
	for n := range l.table.Entries {
		if err := ctx.Err(); err != nil {
			return l.stats, true, err
		}
		if err := l.entry(n, &l.table.Entries[n]); err != nil {
			return l.stats, true, layer.Foreign(fmt.Errorf("layer %s: %w", d.Digest, err))
		}
	}
	return l.stats, true, nil
}

// errMostly is a layer of which most is missing.
var errMostly = errors.New("most of it is missing here")

// plan reads the table, and looks what the store has.
func (l *partial) plan(ctx context.Context, place *toc.Place) error {
	var err error
	l.table, err = place.Load(func(from, to int64) (io.ReadCloser, error) {
		r, err := l.openPart(ctx, l.desc, from, to)
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.LimitReader(r, to-from), r}, nil
	})
	if err != nil {
		return err
	}
	if l.have == nil {
		if l.have, err = newHave(l.store); err != nil {
			return err
		}
	}
	l.have.stage = l.stage
	l.there = make([]bool, len(l.table.Entries))
	var total, missing, end int64
	for n := range l.table.Entries {
		e := &l.table.Entries[n]
		if !e.HasContents() {
			continue
		}
		if e.Inode.Size > l.limit-total {
			return fmt.Errorf("%d bytes and %d before them: %w: %w", e.Inode.Size, total, layer.ErrBomb, toc.ErrUnusable)
		}
		total += e.Inode.Size
		if l.there[n], err = l.have.has(e.Digest, e.Inode.Size); err != nil {
			return err
		}
		if l.there[n] {
			continue
		}
		missing += max(0, e.To-max(e.From, end))
		end = max(end, e.To)
		l.spans = join(l.spans, span{e.From, e.To})
	}
	if missing > l.desc.Size*mostly/100 {
		return fmt.Errorf("%w: %d bytes of %d", errMostly, missing, l.desc.Size)
	}
	return nil
}

func (l *partial) entry(n int, e *toc.Entry) error {
	if e.Link != "" {
		return l.tree.Link(e.Path, e.Link)
	}
	in := e.Inode
	if in.Mode&unix.S_IFMT == unix.S_IFREG {
		l.stats.Files++
		l.stats.Bytes += in.Size
	}
	if e.HasContents() {
		if err := l.contents(n, e); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
		in.Redirect = e.Digest.Redirect()
	}
	return l.tree.Add(e.Path, in)
}

// contents makes sure that the contents of a file are there.
func (l *partial) contents(n int, e *toc.Entry) error {
	size := e.Inode.Size
	if size <= store.Small {
		if there, err := l.stage.Take(e.Digest, size); err != nil || there {
			return err
		}
	}
	if l.there[n] {
		data, err := l.have.data(e.Digest)
		switch {
		case err != nil || data == nil && size > store.Small:
			return err
		case data != nil:
			return l.put(e, bytes.NewReader(data))
		} // else it is in a pack too many for one image, and is fetched after all
	}
	if l.have.good[e.Digest] {
		return nil
	}
	r, err := l.unpack.file(e)
	if err != nil {
		return err
	}
	err = l.put(e, r)
	if bad := l.unpack.fault(r); bad != nil {
		return bad
	}
	return err
}

// put makes it an object.
func (l *partial) put(e *toc.Entry, r io.Reader) error {
	result, err := l.stage.Put(r, e.Inode.Size)
	if err != nil {
		return err
	}
	l.stats.Written += result.Written
	if e.Inode.Size > store.Small {
		l.have.good[result.Digest] = true
	}
	return agree(e, result.Digest)
}

// agree holds contents against what the table says of them.
func agree(e *toc.Entry, got object.Digest) error {
	if got != e.Digest {
		return fmt.Errorf("has digest %s, and in the table of contents %s: %w", got, e.Digest, toc.ErrUnusable)
	}
	return nil
}

// partsOnly are the names that a layer has for itself, and not for the image.
func partsOnly(d v1.Descriptor) func(string) bool {
	if place, err := toc.Find(d); err != nil || place == nil || place.Format != toc.EStargz {
		return nil
	}
	return toc.IsMark
}

package transfer

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/tree"
)

// RepairFromDir takes damaged objects from a directory: another store, the base system, a
// medium that was plugged in. Only files of a wanted size are read.
func RepairFromDir(ctx context.Context, r *store.Repair, dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.Left() == 0 {
			return fs.SkipAll
		}
		if !e.Type().IsRegular() {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return nil // it is gone; another file may be the one
		}
		return r.Offer(func() (io.ReadCloser, error) { return os.Open(path) }, info.Size())
	})
}

// errEnough ends a stream of which no more is needed.
var errEnough = errors.New("enough")

// RepairFrom takes damaged objects from the layers of an image at a source. It stops reading when it
// has them all. It returns the bytes it fetched.
func RepairFrom(ctx context.Context, src Source, name string, choose func(v1.Index) (v1.Descriptor, error), r *store.Repair) (int64, error) {
	quiet := func(Event) {}
	p := &puller{fetcher: fetcher{src: src, progress: quiet}, o: PullOptions{Progress: quiet, Choose: choose}}
	top, err := src.Resolve(ctx, name)
	if err != nil {
		return 0, err
	}
	d, raw, err := p.manifest(ctx, top)
	if err != nil {
		return 0, err
	}
	m, err := parseManifest(d, raw)
	if err != nil {
		return 0, err
	}
	b := tree.NewBuilder(nowhere{}, tree.Limits{})
	for _, d := range m.Layers {
		if r.Left() == 0 {
			break
		}
		_, err := layer.Unpack(ctx, p.opener(d), layer.Layer{Name: d.Digest.String(), Size: d.Size}, b, taker{r})
		if err != nil && !errors.Is(err, errEnough) {
			return p.fetched, err
		}
		b.NextLayer()
	}
	return p.fetched, nil
}

// taker lets a repair look at every file of a layer.
type taker struct{ r *store.Repair }

func (t taker) Put(r io.Reader, size int64) (object.Result, error) {
	if t.r.Left() == 0 {
		return object.Result{}, errEnough
	}
	return object.Result{}, t.r.Take(r, size)
}

// nowhere takes a tree that nobody reads.
type nowhere struct{}

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/blob"
	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/store"
)

// A Flat is an image of the store as a Source: one layer with all its files. The layers it was
// pulled from are not kept, so this is how it leaves the device.
//
// The layer stands nowhere: it is packed from tree and objects each time it is read, the first
// time to learn its digest and size. That costs its compression twice, and no byte of flash or
// memory; the same image gives the same bytes each time.
type Flat struct {
	stored      Stored
	compression layer.Compression

	Desc     v1.Descriptor // of the manifest
	manifest []byte
	config   []byte
	layer    v1.Descriptor
	configAt v1.Descriptor
}

// A Stored is an image with all its files. Whoever holds one keeps it from being removed.
type Stored struct {
	Store *store.Store
	Image *store.Image
	Packs []string // where the packs it was fetched in are mounted: directories of objects
}

// Flatten packs an image once, and checks each of its files on the way.
func Flatten(ctx context.Context, s Stored, c layer.Compression, progress func(Event)) (*Flat, error) {
	f := &Flat{stored: s, compression: c}
	if progress == nil {
		progress = func(Event) {}
	}
	if err := f.measure(ctx, progress); err != nil {
		return nil, fmt.Errorf("pack image %s: %w", s.Image.Digest, err)
	}
	return f, nil
}

// measure is the first packing: it finds out the digests.
func (f *Flat) measure(ctx context.Context, progress func(Event)) error {
	total, err := contentSize(f.stored.Image)
	if err != nil {
		return err
	}
	packed := &counter{sum: digest.SHA256.Digester()}
	plain := &counter{sum: digest.SHA256.Digester(), tell: func(n int64) {
		progress(Event{Kind: "pack", Blob: f.stored.Image.Digest, Current: min(n, total), Total: total})
	}}
	if err := f.pack(ctx, packed, plain, verified); err != nil {
		return err
	}
	progress(Event{Kind: "packed", Blob: packed.sum.Digest(), Current: packed.n, Total: packed.n})
	f.layer = v1.Descriptor{MediaType: f.compression.MediaType(), Digest: packed.sum.Digest(), Size: packed.n}
	return f.documents(plain.sum.Digest())
}

// pack writes the layer to w, and the tar stream that is in it to plain.
func (f *Flat) pack(ctx context.Context, w, plain io.Writer, open func(*contents, object.Digest) (io.ReadCloser, error)) error {
	t, err := f.stored.Image.Tree()
	if err != nil {
		return err
	}
	defer t.Close()
	c, err := f.stored.contents()
	if err != nil {
		return err
	}
	defer c.Close()
	z, err := f.compression.Compress(&during{ctx, w})
	if err != nil {
		return err
	}
	from := func(d object.Digest) (io.ReadCloser, error) { return open(c, d) }
	if err := layer.Pack(io.MultiWriter(z, plain), t, from); err != nil {
		return err
	}
	return z.Close()
}

// documents makes config and manifest.
func (f *Flat) documents(diffID digest.Digest) error {
	old, _, err := f.stored.Image.Manifest()
	if err != nil {
		return err
	}
	_, raw, err := f.stored.Image.Config()
	if err != nil {
		return err
	}
	if f.config, err = flatConfig(raw, diffID); err != nil {
		return fmt.Errorf("config %s: %w", old.Config.Digest, err)
	}
	f.configAt = v1.Descriptor{
		MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(f.config), Size: int64(len(f.config)),
	}
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: f.configAt, Layers: []v1.Descriptor{f.layer}, Annotations: old.Annotations,
	}
	if f.manifest, err = json.Marshal(m); err != nil {
		return err
	}
	f.Desc = v1.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(f.manifest), Size: int64(len(f.manifest))}
	return nil
}

// flatConfig is a config with one layer. What it says besides stays as it is, fields that we do
// not know too. The history stays readable: its steps have no layer of their own any more, and a
// last one has all.
func flatConfig(raw []byte, diffID digest.Digest) ([]byte, error) {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	var config v1.Image
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, err
	}
	layers := len(config.RootFS.DiffIDs)
	for n := range config.History {
		config.History[n].EmptyLayer = true
	}
	config.History = append(config.History, v1.History{
		Created: config.Created, CreatedBy: fmt.Sprintf("tare: %d layers as one", layers),
	})
	config.RootFS = v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}}
	var err error
	if fields["history"], err = json.Marshal(config.History); err != nil {
		return nil, err
	}
	if fields["rootfs"], err = json.Marshal(config.RootFS); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// Resolve returns the manifest, whatever the name.
func (f *Flat) Resolve(context.Context, string) (v1.Descriptor, error) { return f.Desc, nil }

// Manifest returns the manifest.
func (f *Flat) Manifest(context.Context, v1.Descriptor) ([]byte, error) { return f.manifest, nil }

// Open returns the config or the layer, from an offset on. The layer is packed up to there again.
func (f *Flat) Open(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	switch {
	case d.Digest == f.configAt.Digest:
		return io.NopCloser(bytes.NewReader(f.config[min(offset, int64(len(f.config))):])), nil
	case d.Digest != f.layer.Digest:
		return nil, fmt.Errorf("blob %s: %w", d.Digest, ErrManifest)
	}
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	p := &packing{PipeReader: r, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		w.CloseWithError(f.pack(ctx, w, io.Discard, plain))
	}()
	if _, err := io.CopyN(io.Discard, p, offset); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// A packing is a layer that is being packed by a goroutine.
type packing struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

// Close ends the packing.
func (p *packing) Close() error {
	p.cancel()
	err := p.PipeReader.Close()
	<-p.done
	return err
}

// plain opens an object that has been checked.
func plain(c *contents, d object.Digest) (io.ReadCloser, error) {
	r, _, err := c.open(d)
	return r, err
}

// verified opens an object and checks it while it is read: nothing damaged leaves the device
// under a new digest.
func verified(c *contents, d object.Digest) (io.ReadCloser, error) {
	r, size, err := c.open(d)
	if err != nil {
		return nil, err
	}
	want := v1.Descriptor{Digest: digest.NewDigestFromEncoded(digest.SHA256, d.String()), Size: size}
	return blob.NewReader(context.Background(), want, func(context.Context, int64) (io.ReadCloser, error) {
		return r, nil
	}, blob.Options{Attempts: -1})
}

// contents is the files of a stored image, wherever they are.
type contents struct {
	*store.Contents
	packs []string
}

func (s *Stored) contents() (*contents, error) {
	c, err := s.Store.Contents(s.Image)
	if err != nil {
		return nil, err
	}
	return &contents{c, s.Packs}, nil
}

// open opens an object and tells its size.
func (c *contents) open(d object.Digest) (io.ReadCloser, int64, error) {
	// In the order of a container's mount.
	for _, dir := range c.packs {
		r, size, err := openFile(filepath.Join(dir, d.Path()))
		if !errors.Is(err, fs.ErrNotExist) {
			return r, size, err
		}
	}
	r, size, err := c.Open(d)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("object %s: is missing: %w", d, object.ErrDamaged)
	}
	return r, size, err
}

func openFile(path string) (io.ReadCloser, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

// contentSize is the bytes of the files of an image.
func contentSize(i *store.Image) (int64, error) {
	t, err := i.Tree()
	if err != nil {
		return 0, err
	}
	defer t.Close()
	var total int64
	return total, t.Walk(func(_ string, _ erofs.NID, in *erofs.Inode) error {
		if in.Redirect != "" {
			total += in.Size / int64(max(in.Nlink, 1))
		}
		return nil
	})
}

// A counter counts and hashes what is written to it.
type counter struct {
	n    int64
	sum  digest.Digester
	tell func(int64)
	told int64
}

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	c.sum.Hash().Write(b)
	if c.tell != nil && c.n-c.told >= tellEvery {
		c.told = c.n
		c.tell(c.n)
	}
	return len(b), nil
}

// during writes until its context ends.
type during struct {
	ctx context.Context
	w   io.Writer
}

func (d *during) Write(b []byte) (int, error) {
	if err := d.ctx.Err(); err != nil {
		return 0, err
	}
	return d.w.Write(b)
}

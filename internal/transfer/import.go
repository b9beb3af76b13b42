package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/tree"
)

// ImportOptions of Import. The zero value works.
type ImportOptions struct {
	Config   v1.ImageConfig
	Platform v1.Platform
	Created  *time.Time
	Comment  string
	Names    []string
	Progress func(Event)
	Total    int64 // bytes of the stream, for Progress; 0 when they are not known
	Limits   tree.Limits
}

// Import makes an image of a root file system in a tar stream, which may be compressed. The stream
// is its one layer. Who imports a file trusts it to be as large as it is: it has no bound but the
// reserve of the store.
func Import(ctx context.Context, r io.Reader, s *store.Store, o ImportOptions) (Pulled, error) {
	stage, err := s.Stage()
	if err != nil {
		return Pulled{}, err
	}
	defer stage.Close()
	i := importer{o: o, stage: stage}
	if err := i.unpack(ctx, r); err != nil {
		return Pulled{}, err
	}
	config, manifest, err := i.documents()
	if err != nil {
		return Pulled{}, err
	}
	d := digest.FromBytes(manifest)
	_, err = s.Image(d)
	out := Pulled{Digest: d, New: err != nil, Stats: i.stats}
	out.Image, err = stage.Commit(d, manifest, config, o.Names...)
	return out, err
}

type importer struct {
	o     ImportOptions
	stage *store.Stage
	stats Stats
	layer v1.Descriptor
}

// unpack reads the stream. The layer is what is in it, so that the image is the same however the
// stream was compressed.
func (i *importer) unpack(ctx context.Context, r io.Reader) error {
	read := &reading{r: r, tell: func(n int64) {
		if i.o.Progress != nil {
			i.o.Progress(Event{Kind: "read", Current: n, Total: max(n, i.o.Total)})
		}
	}}
	z, err := layer.Decompress(read)
	if err != nil {
		return err
	}
	defer z.Close()
	plain := &counter{sum: digest.SHA256.Digester()}
	b := tree.NewBuilder(i.stage.Tree(), i.o.Limits)
	stats, err := layer.Unpack(ctx, func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.TeeReader(z, plain)), nil
	}, layer.Layer{Name: "import", Limits: layer.Limits{Free: 1 << 60}}, b, i.stage)
	if err != nil {
		return err
	}
	if _, err := b.Finish(); err != nil {
		return fmt.Errorf("tree: %w", err)
	}
	i.stats = Stats{Fetched: read.n, Bytes: stats.Bytes, Written: stats.Written, Files: stats.Files}
	i.layer = v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: plain.sum.Digest(), Size: plain.n}
	return nil
}

// reading counts what is read.
type reading struct {
	r       io.Reader
	tell    func(int64)
	n, told int64
}

func (r *reading) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	if r.n += int64(n); r.n-r.told >= tellEvery {
		r.told = r.n
		r.tell(r.n)
	}
	return n, err
}

func (i *importer) documents() (config, manifest []byte, err error) {
	c := v1.Image{
		Created: i.o.Created, Platform: i.o.Platform, Config: i.o.Config,
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{i.layer.Digest}},
		History: []v1.History{{Created: i.o.Created, CreatedBy: "tare import", Comment: i.o.Comment}},
	}
	if config, err = json.Marshal(c); err != nil {
		return nil, nil, err
	}
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: v1.Descriptor{
			MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config)),
		},
		Layers: []v1.Descriptor{i.layer},
	}
	manifest, err = json.Marshal(m)
	return config, manifest, err
}

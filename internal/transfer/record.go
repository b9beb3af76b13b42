package transfer

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/blob"
	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/layout"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/store"
)

// A Recording is an archive that came through a pipe, as a Source to pull from. The lists of an
// archive may stand behind its layers, so each layer is unpacked as it passes: the contents of its
// files are objects of the store already, and its metadata is kept in memory until the lists tell
// where it belongs. Nothing is staged.
type Recording struct {
	*layout.Reader
	stage  *store.Stage
	small  []digest.Digest // the packs of the small files
	layers map[digest.Digest]*recorded
}

// A recorded is a layer of it.
type recorded struct {
	packed bytes.Buffer // notes
	diffID digest.Digest
	stats  layer.Stats
	err    error // why it could not be unpacked; a blob that no image names need not be a layer
}

// Bounds of what is held in memory.
const (
	maxDocument  = 4 << 20
	maxRecording = 8 << 20
	maxArchived  = 1 << 16 // files
)

// ErrLarge is an archive with more metadata than is held in memory.
var ErrLarge = errors.New("holds too much metadata to be read from a pipe: save it to a file")

// Record reads an archive, which may be compressed as a whole, to its end.
func Record(ctx context.Context, r io.Reader, s *store.Store, o PullOptions) (*Recording, error) {
	if o.Progress == nil {
		o.Progress = func(Event) {}
	}
	stage, err := s.Stage()
	if err != nil {
		return nil, err
	}
	c := recorder{ctx: ctx, o: o, stage: stage, files: map[string]layout.Passed{}, layers: map[digest.Digest]*recorded{}}
	if err := c.read(r); err != nil {
		return nil, errors.Join(fmt.Errorf("read archive: %w", err), stage.Close())
	}
	images, err := layout.FromPassed("archive", c.files)
	if err != nil {
		return nil, errors.Join(err, stage.Close())
	}
	small, err := stage.PlaceSmall()
	if err != nil {
		return nil, errors.Join(err, stage.Close())
	}
	return &Recording{images, stage, small, c.layers}, nil
}

// Close gives up what was not pulled.
func (r *Recording) Close() error { return errors.Join(r.Reader.Close(), r.stage.Close()) }

// taking has an image use the small files that its tree leads to.
type taking struct {
	layer.Builder
	stage *store.Stage
}

func (t taking) Add(path string, in erofs.Inode) error {
	if in.Redirect != "" && in.Size <= store.Small {
		d, err := object.ParseRedirect(in.Redirect)
		if err != nil {
			return err
		}
		there, err := t.stage.Take(d, in.Size)
		if err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("%s: an image that had the same file was removed meanwhile: begin again", path)
		}
	}
	return t.Builder.Add(path, in)
}

// replay adds a layer to a tree.
func (r *Recording) replay(d v1.Descriptor, diffID digest.Digest, b layer.Builder) (layer.Stats, error) {
	l, ok := r.layers[d.Digest]
	switch {
	case !ok:
		return layer.Stats{}, fmt.Errorf("layer %s: is not in the archive: %w", d.Digest, ErrManifest)
	case l.err != nil:
		return layer.Stats{}, l.err
	case l.diffID != diffID:
		return layer.Stats{}, fmt.Errorf("layer %s: tar stream has digest %s, the config says %s: %w", d.Digest, l.diffID, diffID, blob.ErrDigest)
	}
	if err := replay(bytes.NewReader(l.packed.Bytes()), b); err != nil {
		return layer.Stats{}, fmt.Errorf("layer %s: %w", d.Digest, err)
	}
	return l.stats, nil
}

type recorder struct {
	ctx    context.Context
	o      PullOptions
	stage  *store.Stage
	files  map[string]layout.Passed
	layers map[digest.Digest]*recorded
	held   int // bytes in memory
}

func (c *recorder) read(r io.Reader) error {
	unpacked, err := layer.Decompress(&readDuring{c.ctx, r})
	if err != nil {
		return err
	}
	defer unpacked.Close()
	t := tar.NewReader(unpacked)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // a path is only a key here
			return err
		}
		if err := c.entry(h, t); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func (c *recorder) entry(h *tar.Header, r io.Reader) error {
	name := layout.CleanPath(h.Name)
	var f layout.Passed
	switch h.Typeflag {
	case tar.TypeLink:
		f.Link = layout.CleanPath(h.Linkname)
	case tar.TypeSymlink:
		f.Link = layout.CleanPath(path.Join(path.Dir(name), h.Linkname))
	case tar.TypeReg:
		var err error
		if f, err = c.file(h.Size, r); err != nil {
			return err
		}
	default:
		return nil
	}
	if _, twice := c.files[name]; twice {
		return errors.New("is there twice")
	}
	c.files[name] = f
	if c.held += len(name) + len(f.Link) + len(f.Text) + 100; c.held > maxRecording || len(c.files) > maxArchived {
		return ErrLarge
	}
	return nil
}

// file keeps a document, or unpacks a layer.
func (c *recorder) file(size int64, r io.Reader) (layout.Passed, error) {
	sum := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(r, sum), 64<<10)
	head, err := in.Peek(512)
	if err != nil && err != io.EOF {
		return layout.Passed{}, err
	}
	if size <= maxDocument && isDocument(head) {
		text, err := io.ReadAll(in)
		return layout.Passed{Text: text, Size: size, Digest: digest.NewDigest(digest.SHA256, sum)}, err
	}
	f := layout.Passed{Text: bytes.Clone(head[:min(4, len(head))]), Size: size}
	var l *recorded
	if len(head) == 512 || layer.IsCompressed(head) {
		if l, err = c.unpack(size, in); err != nil {
			return f, err
		}
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return f, err
	}
	f.Digest = digest.NewDigest(digest.SHA256, sum)
	if l != nil {
		c.layers[f.Digest] = l
		if l.diffID == "" {
			l.diffID = f.Digest
		}
	}
	return f, nil
}

// isDocument tells JSON from all else.
func isDocument(head []byte) bool {
	text := strings.TrimLeft(string(head), " \t\r\n")
	return strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[")
}

// unpack unpacks a layer. It leaves its diff id empty when that is the digest of the file.
func (c *recorder) unpack(size int64, in *bufio.Reader) (*recorded, error) {
	l := &recorded{}
	notes := newNotes(&l.packed)
	name := fmt.Sprint("of ", size, " bytes")
	head, _ := in.Peek(4) // it has been peeked at
	compressed := layer.IsCompressed(head)
	z, err := layer.Decompress(in)
	if err != nil {
		l.err = err
		return l, nil
	}
	defer z.Close()
	plain := &counter{sum: digest.SHA256.Digester()}
	c.o.Progress(Event{Kind: "read", Total: size})
	l.stats, l.err = layer.Unpack(c.ctx, func(context.Context) (io.ReadCloser, error) {
		if !compressed {
			return io.NopCloser(z), nil
		}
		return io.NopCloser(io.TeeReader(z, plain)), nil
	}, layer.Layer{Name: name, Size: size, Limits: c.o.Layer}, notes, c.stage)
	if err := c.ctx.Err(); err != nil {
		return nil, err
	}
	if err := notes.close(); l.err == nil {
		l.err = err
	}
	if compressed {
		l.diffID = plain.sum.Digest()
	}
	if c.held += l.packed.Len(); c.held > maxRecording {
		return nil, ErrLarge
	}
	return l, nil
}

// readDuring reads until its context ends.
type readDuring struct {
	ctx context.Context
	r   io.Reader
}

func (d *readDuring) Read(b []byte) (int, error) {
	if err := d.ctx.Err(); err != nil {
		return 0, err
	}
	return d.r.Read(b)
}

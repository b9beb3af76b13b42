package layout

import (
	"bytes"
	"errors"
	"io"
	"io/fs"

	digest "github.com/opencontainers/go-digest"
)

// A Passed is a file of an archive that came through a pipe and cannot be read again.
type Passed struct {
	Text   []byte // of a document, all of it; of a layer, its first 4 bytes
	Size   int64
	Digest digest.Digest
	Link   string // the path of another file; then this is a link
}

// FromPassed returns the images of an archive whose files have all passed by, under their paths as
// CleanPath makes them. Documents can be read; layers are only described, and whoever wants their
// contents has kept them.
func FromPassed(name string, all map[string]Passed) (*Reader, error) {
	return newReader(name, passed(all))
}

// CleanPath is a path in an archive as its lists are looked up by.
func CleanPath(name string) string { return clean(name) }

type passed map[string]Passed

func (p passed) open(name string) (*file, error) {
	name = clean(name)
	for range maxLinks {
		f, ok := p[name]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		if f.Link == "" {
			return &file{ReaderAt: bytes.NewReader(f.Text), Closer: io.NopCloser(nil), size: f.Size, sum: f.Digest}, nil
		}
		name = f.Link
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("too many links")}
}

func (passed) Close() error { return nil }

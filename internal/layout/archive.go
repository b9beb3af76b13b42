package layout

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Bounds of an archive: what its list may cost in memory.
const (
	maxEntries = 1 << 16
	maxNames   = 4 << 20 // bytes of all names
)

// tarFiles is a tar file, by a list of where its files begin.
type tarFiles struct {
	f       *os.File
	entries map[string]entry
}

type entry struct {
	at, size int64
	link     string // another entry; "" if this is a file
}

func openArchive(name string) (*Reader, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return readArchive(name, f)
}

// readArchive takes f over.
func readArchive(name string, f *os.File) (*Reader, error) {
	t := &tarFiles{f: f}
	err := uncompressed(f)
	if err == nil {
		t.entries, err = scan(f)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return newReader(name, t)
}

// uncompressed refuses what is compressed as a whole, and pipes.
func uncompressed(f *os.File) error {
	magic := make([]byte, 6)
	n, err := f.ReadAt(magic, 0)
	if err != nil && err != io.EOF {
		return err // ESPIPE, of a pipe
	}
	kind := compression(magic[:n])
	switch {
	case kind != "":
	case string(magic) == "\xfd7zXZ\x00":
		kind = "xz"
	case string(magic[:3]) == "BZh":
		kind = "bzip2"
	default:
		return nil
	}
	return fmt.Errorf("%w, with %s", ErrCompressed, kind)
}

// scan lists the files of a tar file. It reads the headers only: tar.Reader seeks over
// what is between them, and reads no further than each one's end.
func scan(f io.ReadSeeker) (map[string]entry, error) {
	entries := map[string]entry{}
	names := 0
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		name := clean(h.Name)
		if names += len(name) + len(h.Linkname); len(entries) == maxEntries || names > maxNames {
			return nil, fmt.Errorf("more than %d files or %d bytes of names", maxEntries, maxNames)
		}
		var e entry
		switch h.Typeflag {
		case tar.TypeReg:
			if isSparse(h) {
				return nil, fmt.Errorf("%q: sparse files are not supported", h.Name)
			}
			if e.at, err = f.Seek(0, io.SeekCurrent); err != nil {
				return nil, err
			}
			e.size = h.Size
		case tar.TypeLink:
			e.link = clean(h.Linkname)
		case tar.TypeSymlink:
			e.link = clean(path.Join(path.Dir(name), h.Linkname))
		default:
			continue
		}
		if _, twice := entries[name]; twice {
			return nil, fmt.Errorf("%q: is there twice", h.Name)
		}
		entries[name] = e
	}
}

func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func clean(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}

// maxLinks is how many links may lead from one to the next; docker makes one.
const maxLinks = 4

func (t *tarFiles) open(name string) (*file, error) {
	name = clean(name)
	for range maxLinks {
		e, ok := t.entries[name]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		if e.link == "" {
			return &file{ReaderAt: io.NewSectionReader(t.f, e.at, e.size), Closer: io.NopCloser(nil), size: e.size}, nil
		}
		name = e.link
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("too many links")}
}

func (t *tarFiles) Close() error { return t.f.Close() }

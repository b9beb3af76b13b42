package layer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/tree"
)

// A memory is an image in memory, of which there is not much.
type memory struct{ b []byte }

func (m *memory) WriteAt(p []byte, at int64) (int, error) {
	end := int(at) + len(p)
	if end > 64<<20 {
		return 0, io.ErrShortWrite
	}
	if end > len(m.b) {
		m.b = append(m.b, make([]byte, end-len(m.b))...)
	}
	return copy(m.b[at:], p), nil
}

// hashed takes contents and forgets them.
type hashed struct{ bytes int64 }

func (h *hashed) Put(r io.Reader, size int64) (object.Result, error) {
	sum := sha256.New()
	n, err := io.CopyN(sum, r, size)
	h.bytes += n
	return object.Result{Digest: object.Digest(sum.Sum(nil)), Written: n}, err
}

// FuzzUnpack takes any bytes for a layer. What comes of them is an image that its reader accepts, with
// paths that stay in it, or one line of error.
func FuzzUnpack(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	const most = 1 << 20
	f.Fuzz(func(t *testing.T, data []byte) {
		data = summed(data)
		var image memory
		var objects hashed
		b := tree.NewBuilder(&image, tree.Limits{Entries: 1000, Names: 64 << 10, Depth: 100})
		open := func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
		l := Layer{Name: "fuzz", Size: int64(len(data)), Limits: Limits{Free: most, Ratio: 1}}
		_, err := Unpack(context.Background(), open, l, b, &objects)
		if bound := max(most, int64(len(data))); objects.bytes > bound {
			t.Errorf("took %d bytes of files, want %d at most", objects.bytes, bound)
		}
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("error that cannot be printed: %q", err)
			}
			return
		}
		size, err := b.Finish()
		if err != nil {
			t.Fatal(err)
		}
		im, err := erofs.Open(bytes.NewReader(image.b[:size]), size)
		if err != nil {
			t.Fatal(err)
		}
		if err := im.Walk(func(path string, _ erofs.NID, _ *erofs.Inode) error {
			for part := range strings.SplitSeq(path, "/") {
				if part == ".." || part == "" || strings.HasPrefix(part, ".wh.") {
					t.Errorf("path %q", path)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// summed makes the sums of headers right, which chance would not.
func summed(b []byte) []byte {
	b = bytes.Clone(b)
	for at := 0; at+512 <= len(b); at += 512 {
		h := b[at : at+512]
		if !bytes.HasPrefix(h[257:], []byte("ustar")) {
			continue
		}
		copy(h[148:156], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00", sum))
	}
	return b
}

func seeds(f *testing.F) (all [][]byte) {
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "usr/", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "usr/file", Mode: 0o4755, Size: 5000, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}},
		{Typeflag: tar.TypeSymlink, Name: "bin", Linkname: "usr/../usr"},
		{Typeflag: tar.TypeLink, Name: "bin/link", Linkname: "usr/file"},
		{Typeflag: tar.TypeReg, Name: "usr/.wh.gone"},
		{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3},
	} {
		if err := w.WriteHeader(h); err != nil {
			f.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	var squeezed bytes.Buffer
	z := gzip.NewWriter(&squeezed)
	_, _ = z.Write(plain.Bytes())
	_ = z.Close()
	return [][]byte{plain.Bytes(), squeezed.Bytes(), nil}
}

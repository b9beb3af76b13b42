package toc

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	digest "github.com/opencontainers/go-digest"
)

// A Fetcher opens the blob from a byte up to, and without, another.
type Fetcher func(from, to int64) (io.ReadCloser, error)

// Load fetches the table, holds it against its digest, and reads it. An error of fetch is returned
// as it is; every other is ErrUnusable.
func (p *Place) Load(fetch Fetcher) (*Table, error) {
	t, err := p.load(fetch)
	if err != nil {
		return nil, fmt.Errorf("%s table: %w", p.Format, err)
	}
	return t, nil
}

func (p *Place) load(fetch Fetcher) (*Table, error) {
	if p.Format == EStargz {
		return p.loadStargz(fetch)
	}
	packed, err := fetchAll(fetch, p.offset, p.offset+p.length)
	if err != nil {
		return nil, err
	}
	// The digest is of the compressed bytes, so nothing is unpacked that is not known.
	if got := digest.FromBytes(packed); got != p.digest {
		return nil, unusable("digest %s, the manifest says %s", got, p.digest)
	}
	z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, unusableFor(err)
	}
	defer z.Close()
	t, err := parse(io.LimitReader(z, p.unpacked), ZstdChunked, p.offset)
	return t, unusableFor(err)
}

// maxWindow is the most memory that a frame may ask for: what podman's do, whatever their size.
const maxWindow = 32 << 20

const (
	footerSize = 51
	tableName  = "stargz.index.json"
)

func (p *Place) loadStargz(fetch Fetcher) (*Table, error) {
	foot, err := fetchAll(fetch, p.blob-footerSize, p.blob)
	if err != nil {
		return nil, err
	}
	at, err := parseFooter(foot)
	if err != nil {
		return nil, err
	}
	size := p.blob - footerSize - at
	if at <= 0 || size <= 0 || size > maxTable {
		return nil, unusable("at byte %d of a layer of %d", at, p.blob)
	}
	r, err := fetch(at, at+size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	in := &failing{r: r}
	t, err := p.parseStargz(in, at)
	if in.err != nil {
		return nil, in.err
	}
	return t, unusableFor(err)
}

// parseStargz reads the table as the one file of a compressed tar stream. The digest is of the file,
// so it is known when all of it has been read.
func (p *Place) parseStargz(r io.Reader, at int64) (*Table, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	archive := tar.NewReader(z)
	h, err := archive.Next()
	if err != nil {
		return nil, err
	}
	if h.Name != tableName || h.Typeflag != tar.TypeReg || h.Size > maxTable {
		return nil, unusable("%q of %d bytes stands in its place", h.Name, h.Size)
	}
	sum := sha256.New()
	in := io.TeeReader(archive, sum)
	t, err := parse(in, EStargz, at)
	if _, after := io.Copy(io.Discard, in); after != nil {
		return nil, after
	}
	if got := digest.NewDigest(digest.SHA256, sum); got != p.digest {
		return nil, unusable("digest %s, the manifest says %s", got, p.digest)
	}
	return t, err
}

// parseFooter reads where the table begins: an empty gzip member with "SG" and the offset in its
// extra field (docs/estargz.md, "Footer").
func parseFooter(b []byte) (int64, error) {
	if len(b) != footerSize || !bytes.HasPrefix(b, []byte{0x1f, 0x8b, 8, 4}) ||
		binary.LittleEndian.Uint16(b[10:]) != 26 || string(b[12:14]) != "SG" ||
		binary.LittleEndian.Uint16(b[14:]) != 22 || string(b[32:38]) != "STARGZ" {
		return 0, unusable("no footer of eStargz")
	}
	at, err := strconv.ParseUint(string(b[16:32]), 16, 62)
	if err != nil {
		return 0, unusable("footer: offset %q", b[16:32])
	}
	return int64(at), nil
}

func fetchAll(fetch Fetcher, from, to int64) ([]byte, error) {
	r, err := fetch(from, to)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, to-from)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	return b, nil
}

// failing remembers an error of what it reads from, which is not the table's fault.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

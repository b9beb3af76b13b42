package toc

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotations of a layer. Podman before 4.4 writes the short prefix (containers/storage,
// pkg/chunked/internal); eStargz's is from stargz-snapshotter, docs/estargz.md.
const (
	chunked    = "io.github.containers.zstd-chunked."
	chunkedOld = "io.containers.zstd-chunked."
	checksum   = "manifest-checksum"
	position   = "manifest-position"
	stargz     = "containerd.io/snapshot/stargz/toc.digest"
)

const (
	// maxTable is the largest table, in bytes. Its entries are in memory while the layer is
	// fetched, at about the same size. A file takes some 400 bytes of it.
	maxTable = 32 << 20
	// tableType is a table in JSON, the only one that zstd:chunked has.
	tableType = 1
)

// A Place is where a layer says that its table is.
type Place struct {
	Format Format
	blob   int64 // bytes of the whole layer
	digest digest.Digest
	// Of zstd:chunked. That of eStargz is in a footer.
	offset, length, unpacked int64
}

// Digest is the table's, unpacked or not as its format says.
func (p *Place) Digest() digest.Digest { return p.digest }

// Find looks for a table that the layer's descriptor vouches for. It returns nil where there is
// none. An annotation that contradicts itself or the layer is ErrUnusable.
func Find(d v1.Descriptor) (*Place, error) {
	for _, prefix := range []string{chunked, chunkedOld} {
		if sum, ok := d.Annotations[prefix+checksum]; ok {
			return findChunked(d, sum, d.Annotations[prefix+position])
		}
	}
	sum, ok := d.Annotations[stargz]
	if !ok {
		return nil, nil
	}
	p := &Place{Format: EStargz, blob: d.Size, digest: digest.Digest(sum)}
	if d.Size <= footerSize {
		return nil, unusable("a layer of %d bytes", d.Size)
	}
	return p, p.checkDigest()
}

// findChunked reads "offset:length:uncompressed length:type".
func findChunked(d v1.Descriptor, sum, at string) (*Place, error) {
	var n [4]int64
	parts := strings.Split(at, ":")
	if len(parts) != len(n) {
		return nil, unusable("position %q", at)
	}
	for i, s := range parts {
		v, err := strconv.ParseUint(s, 10, 62)
		if err != nil {
			return nil, unusable("position %q", at)
		}
		n[i] = int64(v)
	}
	p := &Place{ZstdChunked, d.Size, digest.Digest(sum), n[0], n[1], n[2]}
	switch {
	case n[3] != tableType:
		return nil, unusable("type %d", n[3])
	case p.length == 0 || p.length > maxTable || p.unpacked > maxTable:
		return nil, unusable("%d bytes, %d unpacked", p.length, p.unpacked)
	case p.offset == 0 || p.offset > d.Size || p.length > d.Size-p.offset:
		return nil, unusable("position %q in a layer of %d bytes", at, d.Size)
	}
	return p, p.checkDigest()
}

func (p *Place) checkDigest() error {
	if err := p.digest.Validate(); err != nil || p.digest.Algorithm() != digest.SHA256 {
		return unusable("digest %q: want sha256", p.digest)
	}
	return nil
}

func unusable(why string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(why, args...), ErrUnusable)
}

// unusableFor says whose fault it is, too.
func unusableFor(err error) error {
	if err == nil || errors.Is(err, ErrUnusable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnusable, err)
}

// IsMark tells a file that eStargz adds to a layer for itself: the table, and the marks that part
// the files to fetch first from the others. It is no part of the image.
func IsMark(name string) bool {
	switch path.Clean("/" + name) {
	case "/" + tableName, "/.prefetch.landmark", "/.no.prefetch.landmark":
		return true
	}
	return false
}

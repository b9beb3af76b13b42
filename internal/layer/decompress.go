package layer

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// MaxWindow is the most memory, in bytes, that a zstd frame may ask of us. RFC 8878 asks decoders for
// 8 MiB; frames of podman, and of all that compresses with klauspost's best level, ask for 32 MiB
// whatever they hold (containers/storage compresses zstd:chunked at level 10).
const MaxWindow = 32 << 20

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	// A zstd stream may begin with a skippable frame: 0x184D2A5? little-endian.
	skipMagic = []byte{0x2a, 0x4d, 0x18}
)

// Decompress returns the tar stream of a layer that is gzip, zstd or neither. What it is is
// seen from its first bytes, because media types are often wrong and a tar stream begins
// with neither.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(4) // fewer are not an error unless there are none
	if err != nil && len(head) == 0 {
		return nil, fmt.Errorf("layer: %w", short(err))
	}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("layer: %w", short(err))
		}
		return z, nil
	case bytes.Equal(head, zstdMagic), len(head) == 4 && bytes.Equal(head[1:], skipMagic):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(MaxWindow))
		if err != nil {
			return nil, fmt.Errorf("layer: %w", err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(b), nil
}

func short(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

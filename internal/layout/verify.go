package layout

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	_ "crypto/sha256" // for the digests of descriptors
	_ "crypto/sha512"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// copyVerified copies a blob and checks its size and digest.
func copyVerified(w io.Writer, d v1.Descriptor, r io.Reader) error {
	hash := d.Digest.Algorithm().Hash()
	n, err := io.Copy(io.MultiWriter(w, hash), io.LimitReader(r, d.Size))
	if err != nil {
		return err
	}
	if n < d.Size {
		return fmt.Errorf("%d bytes, want %d: %w", n, d.Size, io.ErrUnexpectedEOF)
	}
	if more, err := io.ReadFull(r, make([]byte, 1)); more > 0 {
		return fmt.Errorf("more than %d bytes", d.Size)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	if got := fmt.Sprintf("%x", hash.Sum(nil)); got != d.Digest.Encoded() {
		return fmt.Errorf("has the digest %s:%s", d.Digest.Algorithm(), got)
	}
	return nil
}

// randomText is a name that nobody else makes.
func randomText() string { return rand.Text() }

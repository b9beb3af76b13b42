package transfer_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/transfer"
)

// mirrored is a place whose mirrors send wrong bytes, until each is suspected.
type mirrored struct {
	*place
	lying int
}

func (m *mirrored) Open(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	r, err := m.place.Open(ctx, d, offset)
	if err != nil || m.lying == 0 || d.MediaType != v1.MediaTypeImageLayer {
		return r, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	data = bytes.Clone(data)
	data[len(data)-1] ^= 1
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (m *mirrored) Suspect(v1.Descriptor) bool {
	if m.lying == 0 {
		return false
	}
	m.lying--
	return true
}

func TestPullTurnsFromMirrorsThatLie(t *testing.T) {
	for lying, good := range map[int]bool{0: true, 2: true, 100: false} {
		p := &mirrored{place: newPlace(), lying: lying}
		p.layered(t, "app", tarOf(t, [2]string{"a", large}))
		s := newStore(t)
		_, err := transfer.Pull(t.Context(), p, "app", s, transfer.PullOptions{})
		if (err == nil) != good {
			t.Errorf("%d mirrors lie: %v", lying, err)
		}
	}
}

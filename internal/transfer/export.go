package transfer

import (
	"context"
	"io"

	"tare.dev/tare/internal/layer"
)

// Export writes the files of an image as a tar stream. Each file is checked on the way.
func Export(ctx context.Context, s Stored, w io.Writer, progress func(Event)) error {
	if progress == nil {
		progress = func(Event) {}
	}
	total, err := contentSize(s.Image)
	if err != nil {
		return err
	}
	f := Flat{stored: s, compression: layer.None}
	n := &telling{w: w, tell: func(n int64) {
		progress(Event{Kind: "pack", Blob: s.Image.Digest, Current: min(n, total), Total: total})
	}}
	return f.pack(ctx, n, io.Discard, verified)
}

// telling tells how much was written.
type telling struct {
	w       io.Writer
	tell    func(int64)
	n, told int64
}

func (t *telling) Write(b []byte) (int, error) {
	n, err := t.w.Write(b)
	if t.n += int64(n); t.n-t.told >= tellEvery {
		t.told = t.n
		t.tell(t.n)
	}
	return n, err
}

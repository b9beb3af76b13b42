package transfer_test

import (
	"bytes"
	"os"
	"testing"

	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/layout"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
	"tare.dev/tare/internal/tree"
)

// FuzzRecord reads archives from a pipe. Nothing may panic or take more than the bounds, and what can
// be pulled can be packed again.
func FuzzRecord(f *testing.F) {
	src := newPlace()
	src.layered(f, "app", tarOf(f, [2]string{"bin/a", large}, [2]string{"bin/b", "->bin/a"}), tarOf(f, [2]string{"bin/.wh.a", ""}))
	for _, kind := range []reference.Kind{reference.OCIArchive, reference.DockerArchive} {
		var b bytes.Buffer
		a := layout.NewArchive(&b, kind)
		if _, err := transfer.Copy(f.Context(), src, "app", a, "example.org/app:1", transfer.CopyOptions{}); err != nil {
			f.Fatal(err)
		}
		if err := a.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add(tarOf(f, [2]string{"manifest.json", `[{"Config":"c","RepoTags":["a:b"],"Layers":["l"]}]`}, [2]string{"c", "{}"}, [2]string{"l", "->c"}))
	dir, err := os.MkdirTemp("/dev/shm", "tare-fuzz-") // in memory: each commit syncs
	if err != nil {
		dir = f.TempDir()
	}
	f.Cleanup(func() { os.RemoveAll(dir) })
	s, err := store.Open(dir, store.Options{Reserve: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	f.Fuzz(func(t *testing.T, text []byte) {
		o := transfer.PullOptions{Limits: tree.Limits{Entries: 100}, Layer: layer.Limits{Free: 1 << 20, Ratio: 10}}
		r, err := transfer.Record(t.Context(), bytes.NewReader(text), s, o)
		if err != nil {
			return
		}
		defer r.Close()
		for _, e := range r.List() {
			got, err := transfer.Pull(t.Context(), r, e.Digest.String(), s, o)
			if err != nil {
				continue
			}
			if err := transfer.Export(t.Context(), transfer.Stored{Store: s, Image: got.Image}, &bytes.Buffer{}, nil); err != nil {
				t.Errorf("export of what was pulled: %v", err)
			}
		}
	})
}

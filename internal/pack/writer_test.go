package pack

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
)

// TestWriter: what goes in comes out, for sizes around those of blocks, and fsck.erofs finds nothing wrong.
func TestWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pack.erofs")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := NewWriter(f)
	random := rand.New(rand.NewPCG(1, 2))
	want := map[object.Digest][]byte{}
	for n := range 5000 {
		data := make([]byte, []int{1 + n%2048, 4064 - n%40, 4096 + n%3, 8192, 16384 - n%50}[n%5])
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		d := object.Digest(sha256.Sum256(data))
		for range 1 + n%2 { // a second time is no matter
			if err := w.Add(d, data); err != nil {
				t.Fatal(err)
			}
		}
		want[d] = data
		if !w.Has(d) || w.Has(object.Digest(sha256.Sum256([]byte(fmt.Sprint(n))))) {
			t.Fatal("Has is wrong")
		}
	}
	size, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	im, err := erofs.Open(f, size)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = Files(im, func(d object.Digest, size int64, nid erofs.NID) error {
		seen++
		r, err := im.Contents(nid)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want[d]) || size != int64(len(got)) {
			return fmt.Errorf("object %s has other bytes", d)
		}
		return nil
	})
	if err != nil || seen != len(want) || seen != w.Len() {
		t.Fatalf("%d objects of %d: %v", seen, len(want), err)
	}
	if out, err := exec.Command("fsck.erofs", path).CombinedOutput(); err != nil {
		t.Errorf("fsck.erofs: %v: %s", err, out)
	}
}

func TestEmptyWriter(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "pack.erofs"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := NewWriter(f).Finish()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := erofs.Open(f, size); err != nil {
		t.Fatal(err)
	}
}

package transfer_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

// words is text that compresses, and differs by its seed.
func words(seed string) string {
	var b strings.Builder
	sum := sha256.Sum256([]byte(seed))
	for b.Len() < 50_000 {
		sum = sha256.Sum256(sum[:])
		b.WriteString(strings.Repeat(string('a'+rune(sum[0]%26)), int(sum[1]%32)+1))
	}
	return b.String()
}

// A packedImage is one with what it was made of.
type packedImage struct {
	*transfer.Packed
	of *store.Image
}

func (p *packedImage) layers(t *testing.T) []v1.Descriptor {
	t.Helper()
	raw, err := p.Manifest(t.Context(), p.Desc)
	if err != nil {
		t.Fatal(err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return append(m.Layers, m.Config)
}

// packedImages pulls two images that share a file, and packs them, the second on the first.
func packedImages(t *testing.T) (first, second *packedImage) {
	t.Helper()
	p := newPlace()
	p.layered(t, "a", tarOf(t, [2]string{"usr/lib/common", words("c")}, [2]string{"usr/bin/a", words("a")}, [2]string{"small", "s"}))
	p.layered(t, "b", tarOf(t, [2]string{"usr/lib/common", words("c")}, [2]string{"usr/bin/b", words("b")}))
	s := newStore(t)
	pack := func(name string, o transfer.PackOptions) *packedImage {
		got, err := transfer.Pull(t.Context(), p, name, s, transfer.PullOptions{})
		if err != nil {
			t.Fatal(err)
		}
		made, err := transfer.Pack(t.Context(), s, got.Image, t.TempDir(), o)
		if err != nil {
			t.Fatal(err)
		}
		return &packedImage{made, got.Image}
	}
	first = pack("a", transfer.PackOptions{})
	base, err := transfer.Pull(t.Context(), first, "", s, transfer.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return first, pack("b", transfer.PackOptions{Base: []*store.Image{base.Image}})
}

func TestPackedImageIsTheSameTree(t *testing.T) {
	first, second := packedImages(t)
	if first.Objects != 3 || second.Objects != 1 || first.Pack >= first.Bytes {
		t.Errorf("packed %d and %d objects, %d bytes to %d", first.Objects, second.Objects, first.Bytes, first.Pack)
	}
	s := newStore(t)
	for n, src := range []*packedImage{first, second} {
		got, err := transfer.Pull(t.Context(), src, "", s, transfer.PullOptions{Names: []string{string(rune('a' + n))}})
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 && got.Written != second.Pack {
			t.Errorf("the second wrote %d bytes of packs, want %d", got.Written, second.Pack)
		}
		tree := func(i *store.Image) []byte {
			path, err := i.TreePath()
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		if !bytes.Equal(tree(got.Image), tree(src.of)) {
			t.Error("the tree is another")
		}
	}
	packs := func() int {
		entries, err := os.ReadDir(s.Dir() + "/packs")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	if r, err := s.Verify(t.Context(), store.VerifyOptions{}); err != nil || len(r.Damaged) > 0 || packs() != 2 {
		t.Errorf("Verify = %+v, %v; %d packs", r, err, packs())
	}
	// The second image needs the first one's pack.
	for _, c := range []struct {
		name string
		left int
	}{{"a", 2}, {"b", 0}} {
		i, err := s.Find(c.name)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Remove(i); err != nil {
			t.Fatal(err)
		}
		if _, err := s.GC(); err != nil || packs() != c.left {
			t.Errorf("after %s went: %d packs, %v", c.name, packs(), err)
		}
	}
}

func TestDamagedPackIsSeenAndFetchedAgain(t *testing.T) {
	first, _ := packedImages(t)
	s := newStore(t)
	if _, err := transfer.Pull(t.Context(), first, "", s, transfer.PullOptions{Names: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	path := s.PackPath(first.layers(t)[1].Digest)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)-1000] ^= 1
	os.Remove(path)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := s.Verify(t.Context(), store.VerifyOptions{})
	if err != nil || len(r.Damaged) != 1 || !strings.Contains(r.Damaged[0].Cause, "pack") {
		t.Fatalf("Verify = %+v, %v", r, err)
	}
	if _, err := transfer.Pull(t.Context(), first, "", s, transfer.PullOptions{Again: true}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Verify(t.Context(), store.VerifyOptions{}); err != nil || len(r.Damaged) != 0 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

// An object in a pack is no loose one: a rest of a pull that was cut must not be trusted for it.
func TestPackedObjectsAreNotTrustedLoose(t *testing.T) {
	first, _ := packedImages(t)
	s := newStore(t)
	if _, err := transfer.Pull(t.Context(), first, "", s, transfer.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(words("c")))
	name := hex.EncodeToString(sum[:])
	bad := s.Objects().Path() + "/" + name[:1] + "/" + name[1:]
	if err := os.WriteFile(bad, bytes.Repeat([]byte("x"), len(words("c"))), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPlace()
	p.layered(t, "loose", tarOf(t, [2]string{"common", words("c")}))
	if _, err := transfer.Pull(t.Context(), p, "loose", s, transfer.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Verify(t.Context(), store.VerifyOptions{}); err != nil || len(r.Damaged) != 0 || r.Objects != 1 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

// TestStrayObjectDoesNotHideAPacked: what a pull left that was cut off is no part of an image of packs.
func TestStrayObjectDoesNotHideAPacked(t *testing.T) {
	first, _ := packedImages(t)
	s, mounted := newStore(t), t.TempDir()
	got, err := transfer.Pull(t.Context(), first, "", s, transfer.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{words("c"), words("a"), "s"} {
		sum := sha256.Sum256([]byte(text))
		name := hex.EncodeToString(sum[:])
		for dir, text := range map[string]string{mounted: text, s.Objects().Path(): strings.Repeat("x", len(text))} {
			dir = filepath.Join(dir, name[:1])
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name[1:]), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	stored := transfer.Stored{Store: s, Image: got.Image, Packs: []string{mounted}}
	if err := transfer.Export(t.Context(), stored, io.Discard, nil); err != nil {
		t.Error(err)
	}
}

func TestPackedImageThatLacksAnObjectIsRefused(t *testing.T) {
	first, second := packedImages(t)
	// The tree of the second with the pack of the first: usr/bin/b is nowhere.
	p := newPlace()
	blob := func(from *packedImage, n int) v1.Descriptor {
		d := from.layers(t)[n]
		r, err := from.Open(t.Context(), d, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return p.add(d.MediaType, data)
	}
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Layers: []v1.Descriptor{blob(second, 0), blob(first, 1)}, Config: blob(first, 2),
	}
	d := p.document(t, v1.MediaTypeImageManifest, m)
	s := newStore(t)
	p.named["mixed"] = d
	_, err := transfer.Pull(t.Context(), p, "mixed", s, transfer.PullOptions{})
	if err == nil || !strings.Contains(err.Error(), "usr/bin/b") {
		t.Errorf("err = %v", err)
	}
	if all, err := s.Images(); err != nil || len(all) != 0 {
		t.Errorf("images: %v, %v", all, err)
	}
}

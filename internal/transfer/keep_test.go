package transfer_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/blob"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
	"tare.dev/tare/internal/tree"
)

// TestKeptLayerIsForItsTable: a registry that lies may give a layer that others have, too, a table of contents of its
// own, and break off. What is kept of that must not get into the image of another registry.
func TestKeptLayerIsForItsTable(t *testing.T) {
	bulk := [2]string{"bulk", noise("bulk", 2<<20)}
	layer := chunkedLayer(t, tarOf(t, bulk, [2]string{"bin/sh", "good"}), nil)
	lie := chunkedLayer(t, tarOf(t, bulk, [2]string{"bin/sh", "evil"}), nil)
	last := chunkedLayer(t, tarOf(t, [2]string{"last", large}), nil)

	good, evil := newPlace(), newPlace()
	good.tabledImage(t, "base", chunkedLayer(t, tarOf(t, bulk), nil))
	good.tabledImage(t, "app", layer, last)
	evil.tabledImage(t, "app", lie, last)
	// The manifest of the one that lies: the digest of the good layer, and another's table.
	var m v1.Manifest
	if err := json.Unmarshal(evil.blobs[evil.named["app"].Digest], &m); err != nil {
		t.Fatal(err)
	}
	m.Layers[0].Digest = digest.FromBytes(layer.out.Bytes())
	evil.blobs[m.Layers[0].Digest] = lie.out.Bytes()
	m.Config = evil.document(t, v1.MediaTypeImageConfig, v1.Image{RootFS: v1.RootFS{DiffIDs: []digest.Digest{
		digest.FromBytes(layer.plain.Bytes()), digest.FromBytes(last.plain.Bytes()),
	}}})
	evil.named["app"] = evil.document(t, m.MediaType, m)
	evil.fail["open "+m.Layers[1].Digest.Encoded()[:8]] = errors.New("broken off")

	s := newStore(t)
	if _, _, err := watched(t, good, "base", s); err != nil {
		t.Fatal(err)
	}
	_, err := transfer.Pull(t.Context(), evil, "app", s, transfer.PullOptions{Blob: blob.Options{Attempts: -1}})
	if err == nil {
		t.Fatal("the pull was to break off")
	}
	got, _, err := watched(t, good, "app", s)
	if err != nil {
		t.Fatal(err)
	}
	if have, want := treeOf(t, got.Image), expect(t, good, "app"); have != want {
		t.Errorf("tree %s, want %s: of another registry's table", have, want)
	}
}

// manyPacks is a store with n images that have no small file in common, and those files.
func manyPacks(t *testing.T, n int) (*store.Store, [][2]string) {
	t.Helper()
	src, s := newPlace(), newStore(t)
	var all [][2]string
	for i := range n {
		f := [2]string{fmt.Sprint("old", i), fmt.Sprint("contents ", i)}
		src.layered(t, f[0], tarOf(t, f))
		if _, err := transfer.Pull(t.Context(), src, f[0], s, transfer.PullOptions{}); err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	return s, all
}

func TestRecordOverManyPacks(t *testing.T) {
	s, all := manyPacks(t, 15)
	src := newPlace()
	src.layered(t, "app", tarOf(t, append(all, [2]string{"new", "new"})...))
	r, err := transfer.Record(t.Context(), bytes.NewReader(archived(t, src, reference.OCIArchive)), s, transfer.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := transfer.Pull(t.Context(), r, "", s, transfer.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if packs, err := got.Image.SmallPacks(); err != nil || len(packs) > 9 {
		t.Errorf("over %d packs, %v", len(packs), err)
	}
	if r, err := s.Verify(t.Context(), store.VerifyOptions{}); err != nil || len(r.Damaged) > 0 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

func TestPullOverManyPacksGoesOn(t *testing.T) {
	s, all := manyPacks(t, 15)
	bulk := func(n int) [2]string { return [2]string{fmt.Sprint("bulk", n), noise(fmt.Sprint(n), 1<<20)} }
	src := newPlace()
	d := src.layered(t, "app",
		tarOf(t, append(all[:8:8], bulk(0), [2]string{"new", "new"})...),
		tarOf(t, append(all[8:12:12], bulk(1), [2]string{"newer", "newer"})...),
		tarOf(t, append(all[12:15:15], bulk(2), [2]string{"newest", "newest"})...), tarOf(t, [2]string{"last", large}))
	var m v1.Manifest
	if err := json.Unmarshal(src.blobs[d.Digest], &m); err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{1, 2, 3, -1} {
		clear(src.fail)
		if cut > 0 {
			src.fail["open "+m.Layers[cut].Digest.Encoded()[:8]] = errors.New("cut")
		}
		src.steps = nil
		got, err := transfer.Pull(t.Context(), src, "app", s, transfer.PullOptions{Blob: blob.Options{Attempts: -1}})
		if (err == nil) != (cut < 0) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if cut > 1 && src.opened(m.Layers)[cut-2] > 0 {
			t.Errorf("cut at %d: layers fetched again: %v", cut, src.opened(m.Layers))
		}
		if err == nil {
			if packs, err := got.Image.SmallPacks(); err != nil || len(packs) > 13 {
				t.Errorf("over %d packs, %v", len(packs), err)
			}
		}
	}
	if r, err := s.Verify(t.Context(), store.VerifyOptions{}); err != nil || len(r.Damaged) > 0 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

// TestLinkToNothingIsALink: in the notes of an archive's layer it must not pass for a file, of which what follows
// tells the contents.
func TestLinkToNothingIsALink(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeLink, Name: "a"},
		{Typeflag: tar.TypeDir, Name: "b"},
	} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	src, s := newPlace(), newStore(t)
	src.layered(t, "app", b.Bytes())
	r, err := transfer.Record(t.Context(), bytes.NewReader(archived(t, src, reference.OCIArchive)), s, transfer.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := transfer.Pull(t.Context(), r, "", s, transfer.PullOptions{}); !errors.Is(err, tree.ErrConflict) {
		t.Errorf("Pull = %v, want that a link leads nowhere", err)
	}
}

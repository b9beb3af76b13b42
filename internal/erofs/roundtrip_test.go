package erofs_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"path"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
)

func TestReaderReturnsWhatWasWritten(t *testing.T) {
	for seed := range uint64(60) {
		n := []int{0, 1, 5, 50, 400, 2000}[seed%6]
		t.Run(fmt.Sprintf("seed %d, %d entries", seed, n), func(t *testing.T) {
			var f buffer
			want := grow(t, &f, seed, n)
			im := f.open(t)
			compareWalk(t, im, want)
			compareListings(t, im, want)
		})
	}
}

func compareWalk(t *testing.T, im *erofs.Image, want model) {
	t.Helper()
	nids := map[*erofs.Inode]erofs.NID{}
	last, found := ".", 0
	err := im.Walk(func(name string, nid erofs.NID, in *erofs.Inode) error {
		w, ok := want[name]
		if !ok {
			t.Fatalf("%q is in the image and should not", name)
		}
		found++
		if last != "." && path.Dir(name) == path.Dir(last) && name <= last {
			t.Errorf("%q comes after %q", name, last)
		}
		last = name
		if old, ok := nids[w]; ok && old != nid {
			t.Errorf("%q is inode %d, its other names %d", name, nid, old)
		}
		nids[w] = nid
		compareInode(t, im, name, nid, *in, *w)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found != len(want) {
		t.Errorf("%d entries are in the image, want %d", found, len(want))
	}
}

func compareInode(t *testing.T, im *erofs.Image, name string, nid erofs.NID, got, want erofs.Inode) {
	t.Helper()
	if want.Mode&unix.S_IFMT == unix.S_IFREG && want.Redirect == "" {
		r, err := im.Contents(nid)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		data, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(data, want.Data) {
			t.Errorf("%q: contents of %d bytes, %v; want %d bytes", name, len(data), err, len(want.Data))
		}
		if len(want.Data) > 4096 {
			want.Data = nil
		}
	}
	if want.Mode&unix.S_IFMT == unix.S_IFDIR {
		want.Size = got.Size
	}
	if !bytes.Equal(got.Data, want.Data) {
		t.Errorf("%q: data of %d bytes, want %d", name, len(got.Data), len(want.Data))
	}
	if !slices.EqualFunc(got.Xattrs, want.Xattrs, func(a, b erofs.Xattr) bool {
		return a.Name == b.Name && bytes.Equal(a.Value, b.Value)
	}) {
		t.Errorf("%q: attributes %q, want %q", name, got.Xattrs, want.Xattrs)
	}
	got.Xattrs, want.Xattrs, got.Data, want.Data = nil, nil, nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q:\n%+v, want\n%+v", name, got, want)
	}
}

// compareListings looks every path up and every directory through.
func compareListings(t *testing.T, im *erofs.Image, want model) {
	t.Helper()
	names := map[string][]string{}
	for name := range want {
		if name != "." {
			names[path.Dir(name)] = append(names[path.Dir(name)], path.Base(name))
		}
	}
	for name, in := range want {
		nid, err := im.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		if in.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		entries, err := im.ReadDir(nid)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name)
		}
		if !slices.Equal(got, slices.Sorted(slices.Values(names[name]))) {
			t.Errorf("ReadDir(%s) = %q, want %q", name, got, names[name])
		}
	}
}

func TestEqualTreesAreEqualImages(t *testing.T) {
	var a, b buffer
	grow(t, &a, 7, 1000)
	grow(t, &b, 7, 1000)
	if !bytes.Equal(a.b, b.b) {
		t.Error("the same calls write different images")
	}
}

// Signatures and deltas rest on the bytes of images, so a new version of the writer must be meant.
func TestImagesStayAsTheyAre(t *testing.T) {
	var f buffer
	if err := writeKinds(&f); err != nil {
		t.Fatal(err)
	}
	const want = "1afc7381066943f656735f966a727bb4583840a6f11833023ed18eee1d339a16"
	if got := fmt.Sprintf("%x", sha256.Sum256(f.b)); got != want {
		t.Errorf("sha256 of the image: %s, want %s", got, want)
	}
}

// Directories around the number of entries and the lengths of names that fill whole blocks.
func TestDirectoriesOfAnySize(t *testing.T) {
	for _, length := range []int{3, 200, 255} {
		perBlock := (4096 - 27) / (12 + length)
		for _, n := range []int{0, 1, perBlock - 1, perBlock, perBlock + 1, 2 * perBlock, 10 * perBlock, 9000} {
			t.Run(fmt.Sprintf("%d names of %d bytes", n, length), func(t *testing.T) {
				checkDirectory(t, n, length)
			})
		}
	}
}

func checkDirectory(t *testing.T, n, length int) {
	var f buffer
	w := erofs.NewWriter(&f, erofs.Options{})
	nid, err := w.Add(&erofs.Inode{Mode: unix.S_IFREG | 0o644})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	d := &erofs.Dir{Inode: erofs.Inode{Mode: unix.S_IFDIR | 0o755}}
	for i := range n {
		name := fmt.Sprintf("%0*d", length, i)
		if length == 3 {
			name = string([]byte{byte('0' + i%70), byte('0' + i/70%70), byte('0' + i/4900)})
		}
		names[name] = true
		d.Entries = append(d.Entries, erofs.Entry{Name: name, NID: nid, Type: unix.S_IFREG})
	}
	root := &erofs.Dir{
		Inode:   erofs.Inode{Mode: unix.S_IFDIR | 0o755},
		Entries: []erofs.Entry{{Name: "sub", Type: unix.S_IFDIR, Dir: d}},
	}
	if _, err := w.Finish(root); err != nil {
		t.Fatal(err)
	}
	im := f.open(t)
	sub, err := im.Lookup("sub")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := im.ReadDir(sub)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.NID != nid || !names[e.Name] {
			t.Fatalf("entry %+v", e)
		}
		delete(names, e.Name)
	}
	if len(names) != 0 {
		t.Errorf("missing %q", slices.Sorted(maps.Keys(names)))
	}
	in, err := im.Inode(nid)
	if err != nil || in.Nlink != uint32(max(n, 1)) {
		t.Errorf("inode %+v, %v; want %d links", in, err, n)
	}
}

package pack_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/pack"
)

func needMkfs(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath(pack.Mkfs); err != nil {
		t.Skip("needs mkfs.erofs (package erofs-utils)")
	}
}

// contents returns n files that compress as text does, of 1 byte to 300 KiB.
func contents(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("the quick brown fox jumps over a lazy dog and returns to its den at night")
	list := make([][]byte, n)
	for i := range list {
		var b bytes.Buffer
		for size := 1 + r.IntN(1<<r.IntN(19)); b.Len() < size; {
			b.WriteString(words[r.IntN(len(words))])
			b.WriteByte(byte(r.IntN(40)))
		}
		list[i] = b.Bytes()
	}
	return list
}

// file opens a file each time.
func file(path string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return os.Open(path) }
}

// store writes each of the contents to a file below dir, under any name, and returns the objects.
func store(t *testing.T, dir string, list [][]byte) []pack.Object {
	t.Helper()
	var objects []pack.Object
	for _, b := range list {
		f, err := os.CreateTemp(dir, "any-")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, pack.Object{Digest: sha256.Sum256(b), Open: file(f.Name())})
	}
	return objects
}

func TestMakePacksWhatItIsGiven(t *testing.T) {
	needMkfs(t)
	list := contents(60)
	objects := store(t, t.TempDir(), list)
	out := filepath.Join(t.TempDir(), "a.erofs")
	size, err := pack.Make(context.Background(), append(objects, objects[3]), out, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(out)
	if err != nil || int64(len(image)) != size {
		t.Errorf("Make = %d, the file has %d bytes, %v", size, len(image), err)
	}
	im, err := erofs.Open(bytes.NewReader(image), size)
	if err != nil {
		t.Fatal(err)
	}
	want := map[object.Digest]int64{}
	for _, b := range list {
		want[sha256.Sum256(b)] = int64(len(b))
	}
	if err := pack.List(im, func(d object.Digest, size int64) error {
		if want[d] != size {
			t.Errorf("object %s of %d bytes, want %d", d, size, want[d])
		}
		delete(want, d)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(want) > 0 {
		t.Errorf("not in the pack: %v", want)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(out), ".*")); len(left) > 0 {
		t.Errorf("left beside the pack: %q", left)
	}
}

// The order of the objects, their files' times and the umask are not in the bytes.
func TestEqualObjectsAreEqualPacks(t *testing.T) {
	needMkfs(t)
	list := contents(30)
	var packs [2][]byte
	for i := range packs {
		objects := store(t, t.TempDir(), list)
		rand.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
		out := filepath.Join(t.TempDir(), "a.erofs")
		if _, err := pack.Make(context.Background(), objects, out, pack.Options{Compressor: "lz4"}); err != nil {
			t.Fatal(err)
		}
		var err error
		if packs[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(packs[0], packs[1]) {
		t.Error("two packs of the same objects differ")
	}
}

func TestMakeLeavesNothingWhenItFails(t *testing.T) {
	good := store(t, t.TempDir(), contents(3))
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, test := range map[string]struct {
		ctx     context.Context
		objects []pack.Object
		options pack.Options
		want    error
	}{
		"other bytes":   {context.Background(), []pack.Object{good[0], {Digest: good[1].Digest, Open: good[2].Open}}, pack.Options{}, object.ErrDamaged},
		"no file":       {context.Background(), []pack.Object{{Digest: good[1].Digest, Open: file("/nonexistent")}}, pack.Options{}, os.ErrNotExist},
		"no objects":    {context.Background(), nil, pack.Options{}, nil},
		"no compressor": {context.Background(), good, pack.Options{Compressor: "none-such"}, nil},
		"canceled":      {canceled, good, pack.Options{}, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			needMkfs(t)
			dir := t.TempDir()
			out := filepath.Join(dir, "a.erofs")
			_, err := pack.Make(test.ctx, test.objects, out, test.options)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), out) {
				t.Errorf("error %v, want %v with the name of the pack", err, test.want)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

func TestMakeTellsWhichPackageIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := pack.Make(context.Background(), nil, filepath.Join(t.TempDir(), "a.erofs"), pack.Options{})
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "erofs-utils") {
		t.Errorf("error %v, want one that names erofs-utils", err)
	}
}

// What is in a pack and is no object must not be taken for one.
func TestListRefusesOtherFiles(t *testing.T) {
	for _, name := range []string{"file", "A" + strings.Repeat("0", 62), strings.Repeat("0", 62)} {
		var f buffer
		w := erofs.NewWriter(&f, erofs.Options{})
		nid, err := w.Add(&erofs.Inode{Mode: 0o100444})
		if err != nil {
			t.Fatal(err)
		}
		sub := &erofs.Dir{Inode: erofs.Inode{Mode: 0o40755}, Entries: []erofs.Entry{{Name: name, NID: nid, Type: 0o100000}}}
		root := &erofs.Dir{Inode: erofs.Inode{Mode: 0o40755}, Entries: []erofs.Entry{{Name: "a", Type: 0o40000, Dir: sub}}}
		if _, err := w.Finish(root); err != nil {
			t.Fatal(err)
		}
		im, err := erofs.Open(bytes.NewReader(f), int64(len(f)))
		if err != nil {
			t.Fatal(err)
		}
		if err := pack.List(im, func(object.Digest, int64) error { return nil }); !errors.Is(err, erofs.ErrCorrupt) {
			t.Errorf("%q in a pack: error %v, want %v", name, err, erofs.ErrCorrupt)
		}
	}
}

type buffer []byte

func (b *buffer) WriteAt(p []byte, offset int64) (int, error) {
	if end := int(offset) + len(p); end > len(*b) {
		*b = append(*b, make([]byte, end-len(*b))...)
	}
	return copy((*b)[offset:], p), nil
}

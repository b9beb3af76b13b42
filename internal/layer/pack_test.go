package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/tree"
)

// memory is the tree and the objects of an image.
type memory struct {
	image   []byte
	objects map[object.Digest][]byte
}

func (m *memory) WriteAt(p []byte, at int64) (int, error) {
	if end := int(at) + len(p); end > len(m.image) {
		m.image = append(m.image, make([]byte, end-len(m.image))...)
	}
	return copy(m.image[at:], p), nil
}

func (m *memory) Put(r io.Reader, size int64) (object.Result, error) {
	data, err := io.ReadAll(io.LimitReader(r, size))
	if err == nil && int64(len(data)) < size {
		err = io.ErrUnexpectedEOF
	}
	d := object.Digest(sha256.Sum256(data))
	if m.objects == nil {
		m.objects = map[object.Digest][]byte{}
	}
	m.objects[d] = data
	return object.Result{Digest: d, Written: size}, err
}

func (m *memory) source(d object.Digest) (io.ReadCloser, error) {
	data, ok := m.objects[d]
	if !ok {
		return nil, fmt.Errorf("object %s: %w", d, unix.ENOENT)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (m *memory) tree(t testing.TB) *erofs.Image {
	t.Helper()
	im, err := erofs.Open(bytes.NewReader(m.image), int64(len(m.image)))
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func (m *memory) pack(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := layer.Pack(&b, m.tree(t), m.source); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpack(t testing.TB, stream []byte) *memory {
	t.Helper()
	m := &memory{}
	b := tree.NewBuilder(m, tree.Limits{})
	_, err := layer.Unpack(context.Background(), func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(stream)), nil
	}, layer.Layer{Name: "test", Size: int64(len(stream)), DiffID: digest.FromBytes(stream)}, b, m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Finish(); err != nil {
		t.Fatal(err)
	}
	return m
}

// list is all that a tree says, by path. Files with several names have the first of them as mark.
func (m *memory) list(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	first := map[erofs.NID]string{}
	err := m.tree(t).Walk(func(path string, nid erofs.NID, in *erofs.Inode) error {
		size := in.Size
		switch in.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			size, in.Nlink = 0, 0 // how the directory is stored
		case unix.S_IFREG:
			if in.Nlink > 1 {
				if first[nid] == "" {
					first[nid] = path
				}
			}
		}
		sum := object.Digest(sha256.Sum256(in.Data))
		switch regular := in.Mode&unix.S_IFMT == unix.S_IFREG; {
		case in.Redirect != "":
			var err error
			if sum, err = object.ParseRedirect(in.Redirect); err != nil {
				return err
			}
		case regular:
			r, err := m.tree(t).Contents(nid)
			if err != nil {
				return err
			}
			data, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			sum = sha256.Sum256(data)
		}
		all[path] = fmt.Sprintf("%o %d:%d %d.%09d dev=%x nlink=%d size=%d %q same=%q data=%s", in.Mode, in.UID, in.GID,
			in.Mtime, in.MtimeNsec, in.Rdev, in.Nlink, size, in.Xattrs, first[nid], sum)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	for path, w := range want {
		if got[path] != w {
			t.Errorf("%q\n got %s\nwant %s", path, got[path], w)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%q is there and should not be", path)
		}
	}
}

// grower makes trees.
type grower struct {
	t testing.TB
	m *memory
	b *tree.Builder
}

func newGrower(t testing.TB) *grower {
	m := &memory{}
	return &grower{t, m, tree.NewBuilder(m, tree.Limits{})}
}

func (g *grower) add(path string, in erofs.Inode) {
	g.t.Helper()
	if err := g.b.Add(path, in); err != nil {
		g.t.Fatal(err)
	}
}

func (g *grower) link(path, target string) {
	g.t.Helper()
	if err := g.b.Link(path, target); err != nil {
		g.t.Fatal(err)
	}
}

// inline is the largest file that stands in the tree of the tests.
const inline = 2048

// file adds a regular file, small ones into the tree, where adopted systems have them.
func (g *grower) file(path string, in erofs.Inode, data []byte) {
	g.t.Helper()
	in.Mode |= unix.S_IFREG
	in.Size = int64(len(data))
	if len(data) <= inline {
		in.Data = data
	} else {
		got, err := g.m.Put(bytes.NewReader(data), in.Size)
		if err != nil {
			g.t.Fatal(err)
		}
		in.Redirect = got.Digest.Redirect()
	}
	g.add(path, in)
}

func (g *grower) finish() *memory {
	g.t.Helper()
	if _, err := g.b.Finish(); err != nil {
		g.t.Fatal(err)
	}
	return g.m
}

// everything is a tree with one of each thing an image can hold.
func everything(t testing.TB) *memory {
	g := newGrower(t)
	long := strings.Repeat("long-", 50)
	g.add("/", erofs.Inode{Mode: unix.S_IFDIR | 0o751, UID: 3, GID: 4, Mtime: 12, MtimeNsec: 345, Xattrs: []erofs.Xattr{{Name: "user.root", Value: []byte("r")}}})
	g.add("dir", erofs.Inode{Mode: unix.S_IFDIR | 0o3775, UID: 65534, GID: 1 << 22, Mtime: 1<<33 + 1})
	g.file("dir/empty", erofs.Inode{Mode: 0o600}, nil)
	g.file("dir/small", erofs.Inode{Mode: 0o4755, Mtime: -5, MtimeNsec: 1}, []byte("small"))
	g.file("dir/inline", erofs.Inode{Mode: 0o644, MtimeNsec: 999999999}, bytes.Repeat([]byte("i"), inline))
	g.file("dir/object", erofs.Inode{Mode: 0o644, Mtime: 1700000000, MtimeNsec: 123456789}, bytes.Repeat([]byte("o"), inline+1))
	g.file("dir/zeros", erofs.Inode{Mode: 0o644}, make([]byte, 1<<20))
	g.file("attributes", erofs.Inode{Mode: 0o755, Xattrs: []erofs.Xattr{
		{Name: "security.capability", Value: []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{Name: "user.empty"},
		{Name: "user.a=b%=c d", Value: []byte("=\n%")},
		{Name: "user.lines\n", Value: []byte("a\nb\x00c\n")},
		{Name: "trusted.overlay.opaque", Value: []byte("y")},
		{Name: "user.big", Value: bytes.Repeat([]byte("x"), 5000)},
	}}, []byte("a"))
	g.add("symbolic", erofs.Inode{Mode: unix.S_IFLNK | 0o777, Data: []byte("../" + long + "/\xff\x01"), Size: int64(len(long) + 6)})
	g.add("null", erofs.Inode{Mode: unix.S_IFCHR | 0o666, Rdev: unix.Mkdev(1, 3)})
	g.add("disk", erofs.Inode{Mode: unix.S_IFBLK | 0o660, Rdev: unix.Mkdev(4095, 1<<20-1)})
	g.add("pipe", erofs.Inode{Mode: unix.S_IFIFO | 0o644, UID: 7})
	g.file(long+"/"+long+"/"+long, erofs.Inode{Mode: 0o644}, []byte("deep"))
	for _, name := range []string{"new\nline", "back\\slash", " blank ", "\xff\xfe", "ünï", "-", "a=b", "..."} {
		g.file("names/"+name, erofs.Inode{Mode: 0o644}, []byte(name))
	}
	// The first name in the order of the tree is not the one the file was made by.
	g.file("links/z", erofs.Inode{Mode: 0o755, UID: 5, Xattrs: []erofs.Xattr{{Name: "user.x", Value: []byte("1")}}}, bytes.Repeat([]byte("l"), 9000))
	g.link("links/a", "links/z")
	g.link("dir/l", "links/z")
	g.link("links/symbolic", "symbolic")
	g.link("links/null", "null")
	return g.finish()
}

func TestUnpackOfPackIsTheSameTree(t *testing.T) {
	m := everything(t)
	stream := m.pack(t)
	again := unpack(t, stream)
	same(t, again.list(t), m.list(t))
	if !bytes.Equal(again.pack(t), stream) {
		t.Error("packing what was unpacked gives other bytes")
	}
}

func TestRandomTreesSurvivePacking(t *testing.T) {
	for seed := range uint64(30) {
		m := random(t, seed)
		again := unpack(t, m.pack(t))
		same(t, again.list(t), m.list(t))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func random(t testing.TB, seed uint64) *memory {
	g := newGrower(t)
	r := rand.New(rand.NewPCG(seed, 1))
	name := func() string {
		b := make([]byte, 1+r.IntN(1+r.IntN(254)))
		for i := range b {
			for b[i] == 0 || b[i] == '/' || b[i] == '.' {
				b[i] = byte(r.IntN(256))
			}
		}
		return string(b)
	}
	dirs, files := []string{""}, []string{}
	seen := map[string]bool{}
	for range 200 {
		path := dirs[r.IntN(len(dirs))] + "/" + name()
		if len(path) > 3000 || seen[path] {
			continue
		}
		seen[path] = true
		in := erofs.Inode{
			Mode: uint32(r.IntN(0o10000)), UID: uint32(r.IntN(1 << 31)), GID: uint32(r.IntN(70000)),
			Mtime: r.Int64N(1<<40) - 1<<38, MtimeNsec: uint32(r.IntN(1e9)),
		}
		for range r.IntN(3) {
			in.Xattrs = append(in.Xattrs, erofs.Xattr{Name: fmt.Sprint("user.", len(in.Xattrs), name()[:1]), Value: []byte(name())})
		}
		switch k := r.IntN(10); {
		case k < 3:
			in.Mode |= unix.S_IFDIR
			g.add(path, in)
			dirs = append(dirs, path)
		case k == 3 && len(files) > 0:
			g.link(path, files[r.IntN(len(files))])
		case k == 4:
			in.Mode |= unix.S_IFLNK
			in.Data = []byte(name())
			in.Size = int64(len(in.Data))
			g.add(path, in)
		default:
			data := make([]byte, r.IntN(1+r.IntN(9000)))
			if len(data) > 0 {
				data[0] = byte(seed)
			}
			g.file(path, in, data)
			files = append(files, path)
		}
	}
	return g.finish()
}

func TestPackRefusesContentsThatAreNotThoseOfTheTree(t *testing.T) {
	g := newGrower(t)
	g.file("bin/tool", erofs.Inode{Mode: 0o755}, bytes.Repeat([]byte("t"), 5000))
	m := g.finish()
	for name, test := range map[string]struct {
		data []byte
		want error
	}{
		"shorter": {make([]byte, 4999), io.ErrUnexpectedEOF},
		"longer":  {make([]byte, 5001), tar.ErrWriteTooLong},
		"missing": {nil, unix.ENOENT},
	} {
		err := layer.Pack(io.Discard, m.tree(t), func(d object.Digest) (io.ReadCloser, error) {
			if test.data == nil {
				return nil, unix.ENOENT
			}
			return io.NopCloser(bytes.NewReader(test.data)), nil
		})
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), "bin/tool") {
			t.Errorf("Pack with %s contents = %v, want %v and the path", name, err, test.want)
		}
	}
}

type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, unix.ENOSPC
	}
	return len(p), nil
}

func TestPackReportsThatItCannotWrite(t *testing.T) {
	m := everything(t)
	size := len(m.pack(t))
	for left := 0; left < size; left += 997 {
		if err := layer.Pack(&full{left}, m.tree(t), m.source); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("Pack into %d bytes = %v, want ENOSPC", left, err)
		}
	}
}

func TestCompressionsComeBack(t *testing.T) {
	plain := everything(t).pack(t)
	for _, c := range []layer.Compression{layer.None, layer.Gzip, layer.Zstd} {
		var packed [2]bytes.Buffer
		for i := range packed {
			z, err := c.Compress(&packed[i])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(z, bytes.NewReader(plain)); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(packed[0].Bytes(), packed[1].Bytes()) {
			t.Errorf("%s is not the same twice", c)
		}
		r, err := layer.Decompress(&packed[0])
		if err != nil {
			t.Fatal(err)
		}
		if back, err := io.ReadAll(r); err != nil || !bytes.Equal(back, plain) {
			t.Errorf("%s does not come back: %v", c, err)
		}
	}
	if _, err := layer.ParseCompression("xz"); err == nil {
		t.Error("ParseCompression(xz) = nil error")
	}
}

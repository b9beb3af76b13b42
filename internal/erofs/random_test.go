package erofs_test

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
)

// A buffer is a file in memory.
type buffer struct{ b []byte }

func (b *buffer) WriteAt(p []byte, offset int64) (int, error) {
	if end := int(offset) + len(p); end > len(b.b) {
		b.b = append(b.b, make([]byte, end-len(b.b))...)
	}
	return copy(b.b[offset:], p), nil
}

func (b *buffer) open(t testing.TB) *erofs.Image {
	t.Helper()
	im, err := erofs.Open(bytes.NewReader(b.b), int64(len(b.b)))
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// A model is what a tree should look like: the inode at each path; names of one file share it.
type model map[string]*erofs.Inode

// A grower makes a random tree, writing its files as it goes.
type grower struct {
	t     testing.TB
	r     *rand.Rand
	w     *erofs.Writer
	model model
	files []grown // for hard links
}

type grown struct {
	in   *erofs.Inode
	nid  erofs.NID
	kind uint32
}

// grow writes a random tree of about n entries into f and returns its model. Odd seeds make it
// for old kernels.
func grow(t testing.TB, f *buffer, seed uint64, n int) model {
	t.Helper()
	w := erofs.NewWriter(f, erofs.Options{NoChunks: seed%2 == 1})
	g := &grower{t: t, r: rand.New(rand.NewPCG(seed, 1)), w: w, model: model{}}
	root := g.dir(".", n)
	size, err := g.w.Finish(root)
	if err != nil {
		t.Fatal(err)
	}
	if size != int64(len(f.b)) || size%4096 != 0 {
		t.Errorf("Finish = %d, the file has %d bytes", size, len(f.b))
	}
	return g.model
}

func (g *grower) dir(path string, n int) *erofs.Dir {
	d := &erofs.Dir{Inode: g.meta(unix.S_IFDIR)}
	in := &erofs.Inode{}
	g.model[path] = in
	names := map[string]bool{}
	subdirs := uint32(0)
	for n > 0 {
		name := g.name()
		if names[name] {
			continue
		}
		names[name] = true
		full := strings.TrimPrefix(path+"/"+name, "./")
		if g.r.IntN(8) == 0 {
			part := g.r.IntN(n + 1)
			d.Entries = append(d.Entries, erofs.Entry{Name: name, Type: unix.S_IFDIR, Dir: g.dir(full, part)})
			subdirs++
			n -= part + 1
			continue
		}
		d.Entries = append(d.Entries, g.file(full, name))
		n--
	}
	*in = d.Inode
	in.Nlink = 2 + subdirs
	in.Xattrs = sorted(in.Xattrs)
	return d
}

func (g *grower) file(path, name string) erofs.Entry {
	if len(g.files) > 0 && g.r.IntN(10) == 0 {
		old := g.files[g.r.IntN(len(g.files))]
		old.in.Nlink++
		g.model[path] = old.in
		return erofs.Entry{Name: name, NID: old.nid, Type: old.kind}
	}
	in := g.inode()
	nid, err := g.w.Add(in)
	if err != nil {
		g.t.Fatalf("add %s: %v", path, err)
	}
	want := *in
	want.Nlink = 1
	want.Xattrs = sorted(in.Xattrs)
	if in.Redirect == "" {
		want.Size = int64(len(in.Data))
	}
	g.model[path] = &want
	kind := in.Mode & unix.S_IFMT
	g.files = append(g.files, grown{&want, nid, kind})
	return erofs.Entry{Name: name, NID: nid, Type: kind}
}

func sorted(xattrs []erofs.Xattr) []erofs.Xattr {
	return slices.SortedFunc(slices.Values(xattrs), func(a, b erofs.Xattr) int { return cmp.Compare(a.Name, b.Name) })
}

func (g *grower) name() string {
	n := 1 + g.r.IntN(12)
	switch g.r.IntN(20) {
	case 0:
		n = 255
	case 1: // around "." and ".." in the order
		return []string{"-", "!", "...", ".a", "..b", "/-"[1:], " ", "\xff", "\x01", ". "}[g.r.IntN(10)] + fmt.Sprint(g.r.IntN(1000))
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = "abcdefghijklmnop.-_\x7f\xc3\xa9"[g.r.IntN(22)]
	}
	if s := string(b); s != "." && s != ".." {
		return s
	}
	return "dot"
}

func (g *grower) meta(kind uint32) erofs.Inode {
	in := erofs.Inode{
		Mode: kind | g.r.Uint32N(0o10000), UID: g.r.Uint32N(1 << 20), GID: g.r.Uint32N(70000),
		Mtime: g.r.Int64N(1 << 33), MtimeNsec: g.r.Uint32N(1e9),
	}
	if g.r.IntN(20) == 0 {
		in.Mtime, in.UID, in.GID = -in.Mtime, 1<<32-2, 1<<32-2
	}
	for g.r.IntN(4) == 0 {
		in.Xattrs = append(in.Xattrs, g.xattr(kind, len(in.Xattrs)))
	}
	return in
}

// xattr returns an attribute that the kernel, too, lets the root user see.
func (g *grower) xattr(kind uint32, i int) erofs.Xattr {
	value := make([]byte, g.r.IntN(40))
	if g.r.IntN(30) == 0 {
		value = make([]byte, g.r.IntN(9000))
	}
	if g.r.IntN(3) == 0 { // one that is the same on many
		return erofs.Xattr{Name: fmt.Sprintf("trusted.same%d", i), Value: []byte("of all")}
	}
	for i := range value {
		value[i] = byte(g.r.Uint32())
	}
	prefixes := []string{"trusted.", "security.", "trusted.overlay.overlay."}
	if kind == unix.S_IFREG || kind == unix.S_IFDIR {
		prefixes = append(prefixes, "user.")
	}
	name := strings.Repeat("n", 1+g.r.IntN(100))
	return erofs.Xattr{Name: fmt.Sprintf("%s%d%s", prefixes[g.r.IntN(len(prefixes))], i, name), Value: value}
}

func (g *grower) inode() *erofs.Inode {
	kinds := []uint32{
		unix.S_IFREG, unix.S_IFREG, unix.S_IFREG, unix.S_IFREG, unix.S_IFREG, unix.S_IFREG,
		unix.S_IFLNK, unix.S_IFLNK, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK,
	}
	in := g.meta(kinds[g.r.IntN(len(kinds))])
	switch in.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		g.contents(&in)
	case unix.S_IFLNK:
		n := 1 + g.r.IntN(60)
		if g.r.IntN(10) == 0 {
			n = 1 + g.r.IntN(4095)
		}
		in.Data = bytes.Repeat([]byte("t"), n)
	case unix.S_IFCHR, unix.S_IFBLK:
		in.Rdev = unix.Mkdev(1+g.r.Uint32N(1<<12-1), g.r.Uint32N(1<<20))
	}
	return &in
}

func (g *grower) contents(in *erofs.Inode) {
	size := g.r.IntN(2049)
	switch g.r.IntN(12) {
	case 0, 1, 2:
		in.Size = 1 + g.r.Int64N(1<<g.r.IntN(43))
		in.Redirect = fmt.Sprintf("/%x/%063x", g.r.IntN(16), g.r.Uint64())
		return
	case 3:
		size = g.r.IntN(40000)
	case 4:
		size = 4096 * g.r.IntN(4)
	}
	in.Data = make([]byte, size)
	for i := range in.Data {
		in.Data[i] = byte(g.r.Uint32())
	}
}

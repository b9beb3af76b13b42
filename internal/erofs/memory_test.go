package erofs_test

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
)

// discard is a file that nobody reads.
type discard struct{ size int64 }

func (d *discard) WriteAt(p []byte, offset int64) (int, error) {
	d.size = max(d.size, offset+int64(len(p)))
	return len(p), nil
}

// typical returns the inodes of an image as Debian's are: a third redirects, small files, links.
func typical(n int) []erofs.Inode {
	small := bytes.Repeat([]byte("some text\n"), 205)
	list := make([]erofs.Inode, n)
	for i := range list {
		in := &list[i]
		in.Mode, in.Mtime = unix.S_IFREG|0o644, int64(i)
		switch i % 10 {
		case 0, 1, 2:
			in.Redirect, in.Size = fmt.Sprintf("/%x/%063x", i%16, i), int64(i+2049)
		case 3:
			in.Mode, in.Data = unix.S_IFLNK|0o777, []byte("../lib/libexample.so.1.2.3")
		default:
			in.Data = small[:i*7919%2049]
		}
	}
	return list
}

// An inode that is written may cost 8 bytes of memory, so that a pull of any image fits.
func TestWriterForgetsInodes(t *testing.T) {
	list := typical(1000)
	w := erofs.NewWriter(&discard{}, erofs.Options{})
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	const n = 200_000
	for i := range n {
		if _, err := w.Add(&list[i%len(list)]); err != nil {
			t.Fatal(err)
		}
	}
	grown := int64(heap()) - int64(before)
	if fixed := int64(200 << 10); grown > 8*n+fixed {
		t.Errorf("the writer holds %d bytes after %d inodes: %d for each", grown, n, grown/n)
	}
	t.Logf("%d bytes held, %.1f for each inode", grown, float64(grown)/n)
	if allocs := testing.AllocsPerRun(1000, func() {
		if _, err := w.Add(&list[0]); err != nil {
			t.Fatal(err)
		}
	}); allocs > 0 {
		t.Errorf("Add allocates %v times", allocs)
	}
	runtime.KeepAlive(w)
}

func BenchmarkWriter(b *testing.B) {
	const n = 10_000
	list := typical(n)
	nids := make([]erofs.NID, n)
	b.ReportAllocs()
	var f discard
	for b.Loop() {
		w := erofs.NewWriter(&f, erofs.Options{})
		for i := range list {
			nid, err := w.Add(&list[i])
			if err != nil {
				b.Fatal(err)
			}
			nids[i] = nid
		}
		b.StopTimer() // what the caller makes
		root := spread(list, nids)
		b.StartTimer()
		if _, err := w.Finish(root); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(f.size)/n, "image-bytes/entry")
}

// spread puts the files into directories of 25.
func spread(list []erofs.Inode, nids []erofs.NID) *erofs.Dir {
	root := directory()
	for i := 0; i < len(list); i += 25 {
		d := directory()
		for j := i; j < min(i+25, len(list)); j++ {
			d.Entries = append(d.Entries, erofs.Entry{Name: fmt.Sprintf("file-%05d", j), NID: nids[j], Type: list[j].Mode & unix.S_IFMT})
		}
		root.Entries = append(root.Entries, erofs.Entry{Name: fmt.Sprintf("dir-%05d", i), Type: unix.S_IFDIR, Dir: d})
	}
	return root
}

func BenchmarkWalk(b *testing.B) {
	const n = 10_000
	var f buffer
	w := erofs.NewWriter(&f, erofs.Options{})
	list := typical(n)
	nids := make([]erofs.NID, n)
	for i := range list {
		nid, err := w.Add(&list[i])
		if err != nil {
			b.Fatal(err)
		}
		nids[i] = nid
	}
	if _, err := w.Finish(spread(list, nids)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		im, err := erofs.Open(bytes.NewReader(f.b), int64(len(f.b)))
		if err != nil {
			b.Fatal(err)
		}
		if err := im.Walk(func(string, erofs.NID, *erofs.Inode) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

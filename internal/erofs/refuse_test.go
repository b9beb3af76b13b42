package erofs_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
)

func TestAddRefusesWhatAnImageCannotHold(t *testing.T) {
	regular := func(change func(*erofs.Inode)) erofs.Inode {
		n := erofs.Inode{Mode: unix.S_IFREG | 0o644}
		change(&n)
		return n
	}
	attribute := func(name string, size int) erofs.Inode {
		return regular(func(n *erofs.Inode) { n.Xattrs = []erofs.Xattr{{Name: name, Value: make([]byte, size)}} })
	}
	tests := map[string]erofs.Inode{
		"no type":                  {Mode: 0o644},
		"unknown type":             {Mode: 0o030644},
		"directory":                {Mode: unix.S_IFDIR | 0o755},
		"bits above the mode":      {Mode: 1<<16 | unix.S_IFREG},
		"nanoseconds":              regular(func(n *erofs.Inode) { n.MtimeNsec = 1e9 }),
		"too much data":            regular(func(n *erofs.Inode) { n.Data = make([]byte, erofs.MaxData+1) }),
		"size that is not data's":  regular(func(n *erofs.Inode) { n.Size = 5; n.Data = []byte("1234") }),
		"size without data":        regular(func(n *erofs.Inode) { n.Size = 5 }),
		"redirect and data":        regular(func(n *erofs.Inode) { n.Size, n.Redirect, n.Data = 1, "/a", []byte("1") }),
		"redirect of nothing":      regular(func(n *erofs.Inode) { n.Redirect = "/a" }),
		"redirect of 8 TiB and 1":  regular(func(n *erofs.Inode) { n.Redirect, n.Size = "/a", 8<<40+1 }),
		"redirect of minus 1":      regular(func(n *erofs.Inode) { n.Redirect, n.Size = "/a", -1 }),
		"relative redirect":        regular(func(n *erofs.Inode) { n.Redirect, n.Size = "a", 1 }),
		"redirect to the root":     regular(func(n *erofs.Inode) { n.Redirect, n.Size = "/", 1 }),
		"redirect with a 0":        regular(func(n *erofs.Inode) { n.Redirect, n.Size = "/a\x00", 1 }),
		"redirect of a link":       {Mode: unix.S_IFLNK, Size: 1, Redirect: "/a"},
		"link to nothing":          {Mode: unix.S_IFLNK},
		"link of 4096 bytes":       {Mode: unix.S_IFLNK, Data: bytes.Repeat([]byte("a"), 4096)},
		"link with a 0":            {Mode: unix.S_IFLNK, Data: []byte("a\x00")},
		"FIFO with data":           {Mode: unix.S_IFIFO, Data: []byte("a")},
		"FIFO with a size":         {Mode: unix.S_IFIFO, Size: 1},
		"major number":             {Mode: unix.S_IFCHR, Rdev: unix.Mkdev(1<<12, 1)},
		"minor number":             {Mode: unix.S_IFBLK, Rdev: unix.Mkdev(1, 1<<20)},
		"attribute of no kind":     attribute("name", 1),
		"attribute of other kind":  attribute("system.nfs4_acl", 1),
		"attribute without name":   attribute("user.", 1),
		"more than the ACL's name": attribute("system.posix_acl_accessory", 1),
		"attribute with a 0":       attribute("user.a\x00", 1),
		"attribute's long name":    attribute("user."+strings.Repeat("a", 256), 1),
		"attribute of 64 KiB":      attribute("user.a", 1<<16),
		"redirect as attribute":    attribute("trusted.overlay.redirect", 1),
		"metacopy as attribute":    attribute("trusted.overlay.metacopy", 0),
		"attribute twice": regular(func(n *erofs.Inode) {
			n.Xattrs = []erofs.Xattr{{Name: "user.a"}, {Name: "user.b"}, {Name: "user.a"}}
		}),
		"262,000 bytes of attributes": regular(func(n *erofs.Inode) {
			for _, c := range "abcde" {
				n.Xattrs = append(n.Xattrs, erofs.Xattr{Name: "user." + string(c), Value: make([]byte, 60_000)})
			}
		}),
	}
	var f buffer
	w := erofs.NewWriter(&f, erofs.Options{})
	for name, n := range tests {
		if nid, err := w.Add(&n); err == nil {
			t.Errorf("%s: Add returns %d and no error", name, nid)
		}
	}
	// After all these the writer goes on as if nothing had been.
	nid, err := w.Add(&erofs.Inode{Mode: unix.S_IFREG, Data: []byte("a")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(directory(erofs.Entry{Name: "f", NID: nid, Type: unix.S_IFREG})); err != nil {
		t.Fatal(err)
	}
	compareWalk(t, f.open(t), model{
		".": {Mode: unix.S_IFDIR | 0o755, Nlink: 2},
		"f": {Mode: unix.S_IFREG, Nlink: 1, Size: 1, Data: []byte("a")},
	})
}

func directory(entries ...erofs.Entry) *erofs.Dir {
	return &erofs.Dir{Inode: erofs.Inode{Mode: unix.S_IFDIR | 0o755}, Entries: entries}
}

func TestFinishRefusesWhatIsNoTree(t *testing.T) {
	file := func(name string) erofs.Entry { return erofs.Entry{Name: name, NID: 128, Type: unix.S_IFREG} }
	sub := func(name string, d *erofs.Dir) erofs.Entry {
		return erofs.Entry{Name: name, Type: unix.S_IFDIR, Dir: d}
	}
	twice := directory()
	loop := directory()
	loop.Entries = []erofs.Entry{sub("again", loop)}
	deep := directory()
	for range 65 {
		deep = directory(sub(strings.Repeat("d", 255), deep))
	}
	badRoot := directory()
	badRoot.Mode = unix.S_IFREG | 0o755
	badTime := directory()
	badTime.MtimeNsec = 1e9
	tests := map[string]*erofs.Dir{
		"empty name":        directory(file("")),
		"dot":               directory(file(".")),
		"dot dot":           directory(file("..")),
		"slash":             directory(file("a/b")),
		"zero":              directory(file("a\x00")),
		"long name":         directory(file(strings.Repeat("a", 256))),
		"name twice":        directory(file("a"), file("b"), file("a")),
		"no such inode":     directory(erofs.Entry{Name: "a", NID: 129, Type: unix.S_IFREG}),
		"inode far beyond":  directory(erofs.Entry{Name: "a", NID: 1 << 60, Type: unix.S_IFREG}),
		"other type":        directory(erofs.Entry{Name: "a", NID: 128, Type: unix.S_IFLNK}),
		"no type":           directory(erofs.Entry{Name: "a", NID: 128}),
		"directory by NID":  directory(erofs.Entry{Name: "a", NID: 36, Type: unix.S_IFDIR}),
		"directory twice":   directory(sub("a", twice), sub("b", twice)),
		"loop":              loop,
		"path over 16 KiB":  deep,
		"mode of a file":    badRoot,
		"time":              badTime,
		"sub with bad mode": directory(sub("a", badRoot)),
	}
	for name, root := range tests {
		var f buffer
		w := erofs.NewWriter(&f, erofs.Options{})
		if nid, err := w.Add(&erofs.Inode{Mode: unix.S_IFREG}); err != nil || nid != 128 {
			t.Fatalf("Add = %d, %v; the test counts on 128", nid, err)
		}
		if size, err := w.Finish(root); err == nil {
			t.Errorf("%s: Finish = %d and no error", name, size)
		}
		if _, err := w.Finish(directory()); err == nil {
			t.Errorf("%s: a second Finish returns no error", name)
		}
		if _, err := erofs.Open(bytes.NewReader(f.b), int64(len(f.b))); err == nil {
			t.Errorf("%s: what is left opens as an image", name)
		}
	}
}

// A full disk must come out, at whichever write it happens.
func TestWriteErrorsComeOut(t *testing.T) {
	var whole limited
	whole.left = 1 << 30
	if err := writeSome(&whole); err != nil {
		t.Fatal(err)
	}
	for n := range whole.writes {
		if err := writeSome(&limited{left: n}); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("the disk is full at write %d: error %v", n, err)
		}
	}
}

type limited struct {
	buffer
	left, writes int
}

func (l *limited) WriteAt(p []byte, offset int64) (int, error) {
	if l.writes++; l.writes > l.left {
		return 0, unix.ENOSPC
	}
	return l.buffer.WriteAt(p, offset)
}

func writeSome(f io.WriterAt) error {
	w := erofs.NewWriter(f, erofs.Options{})
	root := directory()
	for i := range 40 {
		n := &erofs.Inode{Mode: unix.S_IFREG, Data: make([]byte, i*200)}
		if i%10 == 0 {
			n.Xattrs = []erofs.Xattr{{Name: "trusted.a", Value: make([]byte, 5000)}}
		}
		nid, err := w.Add(n)
		if err != nil {
			return err
		}
		name := string([]byte{'a' + byte(i)})
		root.Entries = append(root.Entries,
			erofs.Entry{Name: name, NID: nid, Type: unix.S_IFREG}, erofs.Entry{Name: "again" + name, NID: nid, Type: unix.S_IFREG},
			erofs.Entry{Name: "sub" + name, Type: unix.S_IFDIR, Dir: directory()})
	}
	_, err := w.Finish(root)
	return err
}

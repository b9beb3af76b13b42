package erofs_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
)

// The kernel and fsck.erofs must see in an image what was written, to the last attribute.
func TestKernelSeesWhatWasWritten(t *testing.T) {
	needRoot(t)
	for seed := range uint64(12) {
		t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) { testKernel(t, seed) })
	}
}

func testKernel(t *testing.T, seed uint64) {
	var f buffer
	want := grow(t, &f, 1000+seed, []int{30, 700, 3000}[seed%3])
	path := filepath.Join(t.TempDir(), "tree.erofs")
	if err := os.WriteFile(path, f.b, 0o600); err != nil {
		t.Fatal(err)
	}
	fsck(t, path)
	dir := mount(t, path)
	found := 0
	err := filepath.WalkDir(dir, func(full string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, full)
		if err != nil {
			return err
		}
		found++
		in, ok := want[name]
		if !ok {
			t.Fatalf("%q should not be there", name)
		}
		compareStat(t, full, in)
		compareXattrs(t, full, in)
		compareFile(t, full, in)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found != len(want) {
		t.Errorf("%d entries, want %d", found, len(want))
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || int(st.Blocks)*4096 != len(f.b) {
		t.Errorf("statfs: %v, %d blocks for %d bytes", err, st.Blocks, len(f.b))
	}
}

func compareStat(t *testing.T, path string, in *erofs.Inode) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	got := fromStat(&st)
	want := *in
	want.Data, want.Xattrs, want.Redirect = nil, nil, ""
	if in.Mode&unix.S_IFMT == unix.S_IFDIR {
		want.Size = st.Size
	}
	if !equalStat(got, &want) {
		t.Errorf("%q:\n%+v, want\n%+v", path, *got, want)
	}
}

func equalStat(a, b *erofs.Inode) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.Mtime == b.Mtime && a.MtimeNsec == b.MtimeNsec &&
		a.Rdev == b.Rdev && a.Nlink == b.Nlink && a.Size == b.Size
}

func compareXattrs(t *testing.T, path string, in *erofs.Inode) {
	t.Helper()
	want := map[string]string{}
	for _, x := range in.Xattrs {
		want[x.Name] = string(x.Value)
	}
	if in.Redirect != "" {
		want["trusted.overlay.redirect"], want["trusted.overlay.metacopy"] = in.Redirect, ""
	}
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		t.Fatalf("listxattr %q: %v", path, err)
	}
	value := make([]byte, 64<<10)
	list := strings.Split(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00")
	for _, name := range list {
		if name == "" {
			continue
		}
		n, err := unix.Lgetxattr(path, name, value)
		if w, ok := want[name]; err != nil || !ok || string(value[:n]) != w {
			t.Errorf("%q: attribute %s = %q, %v; want %q", path, name, value[:max(n, 0)], err, w)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("%q: attribute %s is missing in %q", path, name, list)
	}
}

func compareFile(t *testing.T, path string, in *erofs.Inode) {
	t.Helper()
	switch in.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		if got, err := os.Readlink(path); err != nil || got != string(in.Data) {
			t.Errorf("readlink %q: %q, %v", path, got, err)
		}
	case unix.S_IFREG:
		if in.Redirect != "" {
			return
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, in.Data) {
			t.Errorf("read %q: %d bytes, %v; want %d", path, len(got), err, len(in.Data))
		}
	}
}

// These attributes the kernel looks at, so they need values that mean something.
func TestKernelSeesCapabilitiesAndACLs(t *testing.T) {
	needRoot(t)
	u16 := func(v ...uint16) (b []byte) {
		for _, v := range v {
			b = append(b, byte(v), byte(v>>8))
		}
		return b
	}
	// linux/posix_acl_xattr.h: version 2, then tag, permissions and id of each entry.
	acl := append([]byte{2, 0, 0, 0}, u16(
		1, 6, 0xffff, 0xffff, // user::rw-
		2, 4, 1000, 0, // user:1000:r--
		4, 4, 0xffff, 0xffff, // group::r--
		16, 4, 0xffff, 0xffff, // mask::r--
		32, 0, 0xffff, 0xffff, // other::---
	)...)
	capability := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // cap_net_raw=ep
	var f buffer
	w := erofs.NewWriter(&f, erofs.Options{NoChunks: true})
	in := &erofs.Inode{Mode: unix.S_IFREG | 0o640, Data: []byte("x"), Xattrs: []erofs.Xattr{
		{Name: "system.posix_acl_access", Value: acl}, {Name: "security.capability", Value: capability},
	}}
	nid, err := w.Add(in)
	if err != nil {
		t.Fatal(err)
	}
	root := &erofs.Dir{
		Inode: erofs.Inode{Mode: unix.S_IFDIR | 0o750, Xattrs: []erofs.Xattr{
			{Name: "system.posix_acl_default", Value: acl}, {Name: "system.posix_acl_access", Value: acl},
		}},
		Entries: []erofs.Entry{{Name: "f", NID: nid, Type: unix.S_IFREG}},
	}
	rootXattrs := root.Xattrs
	if _, err := w.Finish(root); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tree.erofs")
	if err := os.WriteFile(path, f.b, 0o600); err != nil {
		t.Fatal(err)
	}
	fsck(t, path)
	dir := mount(t, path)
	compareXattrs(t, filepath.Join(dir, "f"), in)
	compareXattrs(t, dir, &erofs.Inode{Xattrs: rootXattrs})
}

// The most that an inode can hold: 64 KiB of one value, values across blocks, a root whose
// attributes do not fit beside the superblock.
func TestKernelSeesLargeAttributes(t *testing.T) {
	needRoot(t)
	var f buffer
	w := erofs.NewWriter(&f, erofs.Options{NoChunks: true})
	large := erofs.Xattr{Name: "trusted.large", Value: bytes.Repeat([]byte("v"), 1<<16-1)}
	var many []erofs.Xattr
	for i := range 120 {
		many = append(many, erofs.Xattr{Name: "trusted.x" + strings.Repeat("n", 1+i), Value: bytes.Repeat([]byte{byte(i)}, 50)})
	}
	files := map[string]*erofs.Inode{
		"large": {Mode: unix.S_IFREG, Data: []byte("contents"), Size: 8, Nlink: 1, Xattrs: []erofs.Xattr{large}},
		"link":  {Mode: unix.S_IFLNK, Data: []byte("large"), Size: 5, Nlink: 1, Xattrs: []erofs.Xattr{large}},
		"many":  {Mode: unix.S_IFREG, Nlink: 1, Xattrs: many},
	}
	root := &erofs.Dir{Inode: erofs.Inode{Mode: unix.S_IFDIR | 0o755, Xattrs: many}}
	for name, in := range files {
		nid, err := w.Add(in)
		if err != nil {
			t.Fatal(err)
		}
		root.Entries = append(root.Entries, erofs.Entry{Name: name, NID: nid, Type: in.Mode & unix.S_IFMT})
	}
	if _, err := w.Finish(root); err != nil {
		t.Fatal(err)
	}
	im := f.open(t)
	for name, in := range files {
		nid, err := im.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := im.Inode(nid)
		if err != nil {
			t.Fatal(err)
		}
		want := *in
		want.Xattrs = slices.Clone(sorted(in.Xattrs))
		compareInode(t, im, name, nid, got, want)
	}
	path := filepath.Join(t.TempDir(), "tree.erofs")
	if err := os.WriteFile(path, f.b, 0o600); err != nil {
		t.Fatal(err)
	}
	fsck(t, path)
	dir := mount(t, path)
	for name, in := range files {
		compareStat(t, filepath.Join(dir, name), in)
		compareXattrs(t, filepath.Join(dir, name), in)
		compareFile(t, filepath.Join(dir, name), in)
	}
	compareXattrs(t, dir, &root.Inode)
}

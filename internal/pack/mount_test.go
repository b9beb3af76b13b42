package pack_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/pack"
)

func mount(t *testing.T, source, kind, options string) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount(source, dir, kind, unix.MS_RDONLY, options)
	if err == unix.ENODEV || err == unix.ENOTBLK {
		t.Skipf("this kernel does not mount a file as %s: %v", kind, err)
	}
	if err != nil {
		t.Fatalf("mount %s as %s with %s: %v", source, kind, options, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// metadata mounts an image of files that are all redirects.
func metadata(t *testing.T, prefix string, list [][]byte) string {
	t.Helper()
	var b buffer
	w := erofs.NewWriter(&b, erofs.Options{})
	root := &erofs.Dir{Inode: erofs.Inode{Mode: unix.S_IFDIR | 0o755}}
	for i, c := range list {
		redirect := object.Digest(sha256.Sum256(c)).Redirect()
		nid, err := w.Add(&erofs.Inode{Mode: unix.S_IFREG | 0o755, Size: int64(len(c)), Redirect: redirect})
		if err != nil {
			t.Fatal(err)
		}
		root.Entries = append(root.Entries, erofs.Entry{Name: fmt.Sprint(prefix, i), NID: nid, Type: unix.S_IFREG})
	}
	if _, err := w.Finish(root); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tree.erofs")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return mount(t, path, "erofs", "directio")
}

// resident tells how many pages of a file are in the page cache, and of how many.
func resident(t *testing.T, path string) (in, all int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	pages := make([]byte, (len(m)+4095)/4096)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		t.Fatalf("mincore %s: %v", path, errno)
	}
	for _, p := range pages {
		in += int(p & 1)
	}
	return in, len(pages)
}

// Two trees over loose objects and a pack: every file reads as it should, and what one tree has
// read of the pack the other finds in memory.
func TestTreesShareThePagesOfAPack(t *testing.T) {
	needMkfs(t)
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
	list := append(contents(30), bytes.Repeat([]byte("a large one\n"), 200_000))
	loose := t.TempDir()
	for _, c := range list[:10] {
		path := filepath.Join(loose, object.Digest(sha256.Sum256(c)).Path())
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, c, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "a.erofs")
	if _, err := pack.Make(context.Background(), store(t, t.TempDir(), list[10:]), path, pack.Options{}); err != nil {
		t.Fatal(err)
	}
	layers := loose + "::" + mount(t, path, "erofs", "directio")
	var trees [2]string
	for i, prefix := range []string{"a", "b"} {
		options := "lowerdir=" + metadata(t, prefix, list) + "::" + layers + ",metacopy=on,redirect_dir=follow"
		trees[i] = mount(t, "overlay", "overlay", options)
	}

	large := len(list) - 1
	other := filepath.Join(trees[1], fmt.Sprint("b", large))
	if in, all := resident(t, other); in != 0 {
		t.Fatalf("%d of %d pages are in memory before anything is read", in, all)
	}
	for i, c := range list {
		got, err := os.ReadFile(filepath.Join(trees[0], fmt.Sprint("a", i)))
		if err != nil || !bytes.Equal(got, c) {
			t.Errorf("file %d: %d bytes, %v; want %d", i, len(got), err, len(c))
		}
	}
	if in, all := resident(t, other); in != all {
		t.Errorf("of the other tree's file %d of %d pages are in memory, want all", in, all)
	}
	if got, err := os.ReadFile(other); err != nil || !bytes.Equal(got, list[large]) {
		t.Errorf("the other tree's file: %d bytes, %v", len(got), err)
	}
}

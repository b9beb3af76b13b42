package erofs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
)

// source makes a small directory with what an image may hold and the test may make.
func source(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.MkdirAll(filepath.Join(dir, "d/e"), 0o750))
	for name, size := range map[string]int{"empty": 0, "small": 10, "d/block": 4096, "d/e/big": 9000, "!before": 5000, "..after": 2048} {
		check(os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("x"), size), 0o640))
	}
	for i := range 400 {
		check(os.WriteFile(filepath.Join(dir, "d/e", strings.Repeat("n", 1+i%200)+string(rune('A'+i/200))), nil, 0o600))
	}
	check(os.WriteFile(filepath.Join(dir, "holes"), append(make([]byte, 20000), 'y'), 0o644))
	check(os.Link(filepath.Join(dir, "small"), filepath.Join(dir, "d/hard")))
	check(os.Symlink("d/e/big", filepath.Join(dir, "link")))
	check(os.Symlink(strings.Repeat("long/", 600), filepath.Join(dir, "longlink")))
	check(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	check(unix.Setxattr(filepath.Join(dir, "d"), "user.a", []byte("of a directory"), 0))
	if os.Getuid() == 0 {
		check(unix.Mknod(filepath.Join(dir, "dev"), unix.S_IFCHR|0o666, int(unix.Mkdev(5, 300))))
		check(unix.Setxattr(filepath.Join(dir, "small"), "trusted.b", []byte("shared by its names"), 0))
	}
	return dir
}

// The reader must see in images of mkfs.erofs what went into them.
func TestReaderReadsImagesOfMkfs(t *testing.T) {
	mkfs, err := exec.LookPath("mkfs.erofs")
	if err != nil {
		t.Skip("needs mkfs.erofs (package erofs-utils)")
	}
	dir := source(t)
	for _, options := range [][]string{
		{},
		{"-Eforce-inode-compact"},
		{"-Eforce-inode-extended"},
		{"-x1"}, // all attributes shared
		{"--chunksize=4096"},
		{"--chunksize=8192", "-Eforce-chunk-indexes"},
	} {
		t.Run(strings.Join(options, " "), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "foreign.erofs")
			args := append(options, path, dir)
			if out, err := exec.Command(mkfs, args...).CombinedOutput(); err != nil {
				t.Fatalf("%q: %v\n%s", args, err, out)
			}
			compareForeign(t, path, dir, strings.Contains(strings.Join(options, " "), "compact"))
		})
	}
}

// Of compressed files the reader tells all but the contents.
func TestReaderListsCompressedFiles(t *testing.T) {
	mkfs, err := exec.LookPath("mkfs.erofs")
	if err != nil {
		t.Skip("needs mkfs.erofs (package erofs-utils)")
	}
	path := filepath.Join(t.TempDir(), "packed.erofs")
	if out, err := exec.Command(mkfs, "-zlz4hc", "-C65536", path, source(t)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	im := (&buffer{b}).open(t)
	if err := im.Walk(func(string, erofs.NID, *erofs.Inode) error { return nil }); err != nil {
		t.Fatal(err)
	}
	nid, err := im.Lookup("d/e/big")
	if err != nil {
		t.Fatal(err)
	}
	if in, err := im.Inode(nid); err != nil || in.Size != 9000 || in.Mode != unix.S_IFREG|0o640 {
		t.Errorf("Inode(d/e/big) = %+v, %v", in, err)
	}
	if _, err := im.Contents(nid); !errors.Is(err, erofs.ErrCompressed) {
		t.Errorf("Contents of a compressed file: %v, want %v", err, erofs.ErrCompressed)
	}
}

// compareForeign compares an image with the directory it was made of. Compact inodes have no
// times of their own.
func compareForeign(t *testing.T, path, dir string, compact bool) {
	t.Helper()
	want := model{}
	inodes := map[uint64]*erofs.Inode{}
	err := filepath.WalkDir(dir, func(full string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(full, &st); err != nil {
			return err
		}
		name, err := filepath.Rel(dir, full)
		if err != nil {
			return err
		}
		if inodes[st.Ino] == nil {
			inodes[st.Ino] = readFrom(t, full, &st)
		}
		want[name] = inodes[st.Ino]
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	im := (&buffer{b}).open(t)
	if compact {
		root, err := im.Inode(im.Root())
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range want {
			in.Mtime, in.MtimeNsec = root.Mtime, root.MtimeNsec
		}
	}
	compareWalk(t, im, want)
}

// fromStat returns what stat tells of an inode; the sizes of the fields differ from CPU to CPU.
func fromStat(st *unix.Stat_t) *erofs.Inode {
	seconds, nanoseconds := st.Mtim.Unix()
	return &erofs.Inode{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid, Mtime: seconds, MtimeNsec: uint32(nanoseconds),
		Rdev: st.Rdev, Nlink: uint32(st.Nlink), Size: st.Size,
	}
}

func readFrom(t *testing.T, path string, st *unix.Stat_t) *erofs.Inode {
	t.Helper()
	in := fromStat(st)
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		in.Data, err = os.ReadFile(path)
	case unix.S_IFLNK:
		var target string
		target, err = os.Readlink(path)
		in.Data = []byte(target)
	}
	if err != nil {
		t.Fatal(err)
	}
	names, value := make([]byte, 4096), make([]byte, 4096)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatal(err)
		}
		in.Xattrs = append(in.Xattrs, erofs.Xattr{Name: name, Value: bytes.Clone(value[:n])})
	}
	in.Xattrs = sorted(in.Xattrs)
	return in
}

package rootfs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/pack"
	"tare.dev/tare/internal/tree"
)

// fixture is a tree over objects, on a real file system: the kernel mounts no EROFS image from tmpfs.
type fixture struct {
	dir     string
	tree    Tree
	mounter Mounter
}

type none struct{}

func (none) Trusted(object.Digest) bool   { return false }
func (none) OfSize(int64) []object.Digest { return nil }

func newFixture(t *testing.T, more ...string) *fixture {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	f := &fixture{dir: t.TempDir()}
	f.mounter.Run = filepath.Join(f.dir, "run")
	objects, err := object.Open(filepath.Join(f.dir, "objects"))
	if err != nil {
		t.Fatal(err)
	}
	defer objects.Close()
	file, err := os.Create(filepath.Join(f.dir, "tree.erofs"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b := tree.NewBuilder(file, tree.Limits{})
	w := objects.NewWriter(none{}, 0)
	add := func(path string, in erofs.Inode) {
		if err := b.Add(path, in); err != nil {
			t.Fatal(err)
		}
	}
	add("/", erofs.Inode{Mode: unix.S_IFDIR | 0o755, Mtime: 1_000_000})
	for _, name := range append([]string{"usr/bin/big", "usr/lib/big2"}, more...) {
		data := bytes.Repeat([]byte(name+"\n"), 1000)
		got, err := w.Put(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		add(name, erofs.Inode{
			Mode: unix.S_IFREG | 0o4755, UID: 12, GID: 34, Mtime: 1_234_567, MtimeNsec: 89, Size: int64(len(data)),
			Redirect: got.Digest.Redirect(), Xattrs: []erofs.Xattr{{Name: "user.note", Value: []byte("hello")}},
		})
	}
	add("etc/small", erofs.Inode{Mode: unix.S_IFREG | 0o600, Size: 5, Data: []byte("small")})
	add("etc/packed", erofs.Inode{Mode: unix.S_IFREG | 0o640, GID: 7, Mtime: 7_654_321, Size: 6, Redirect: f.pack(t, "packed")})
	add("bin", erofs.Inode{Mode: unix.S_IFLNK | 0o777, Size: 7, Data: []byte("usr/bin")})
	add("tmp", erofs.Inode{Mode: unix.S_IFDIR | 0o1777})
	if err := b.Link("usr/bin/twin", "usr/bin/big"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Finish(); err != nil {
		t.Fatal(err)
	}
	f.tree = Tree{
		Key: "image", File: file.Name(), Stubs: filepath.Join(f.dir, "stubs", "image"),
		Data: []string{objects.Path()}, Small: []Pack{{Key: "small", File: filepath.Join(f.dir, "small.erofs")}},
	}
	t.Cleanup(func() {
		if err := f.mounter.Release(f.tree.Key); err != nil {
			t.Error(err)
		}
	})
	return f
}

// pack makes a pack of one small file, and returns where it is.
func (f *fixture) pack(t *testing.T, text string) (redirect string) {
	t.Helper()
	file, err := os.Create(filepath.Join(f.dir, "small.erofs"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := pack.NewWriter(file)
	d := object.Digest(sha256.Sum256([]byte(text)))
	if err := w.Add(d, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return d.Redirect()
}

// mount mounts in a layout. It skips those that this kernel lacks.
func (f *fixture) mount(t *testing.T, l Layout, writable bool) (string, error) {
	t.Helper()
	name := fmt.Sprint(l, writable)
	mt := Mount{Tree: f.tree, Target: filepath.Join(f.dir, name, "root")}
	dirs := []string{mt.Target}
	if writable {
		mt.Upper, mt.Work = filepath.Join(f.dir, name, "upper"), filepath.Join(f.dir, name, "work")
		dirs = append(dirs, mt.Upper, mt.Work)
	}
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m := f.mounter
	m.Force = &l
	_, err := m.Mount(mt)
	if err == nil {
		t.Cleanup(func() {
			if err := unix.Unmount(mt.Target, 0); err != nil {
				t.Error(err)
			}
			_ = m.Release(f.tree.Key)
		})
	}
	return mt.Target, err
}

func TestEveryLayoutShowsTheSame(t *testing.T) {
	for _, l := range layouts() {
		for _, writable := range []bool{false, true} {
			t.Run(fmt.Sprint(l, writable), func(t *testing.T) {
				f := newFixture(t)
				root, err := f.mount(t, l, writable)
				mayLack(t, l, err)
				if err != nil {
					t.Fatal(err)
				}
				checkRoot(t, root)
			})
		}
	}
}

// mayLack skips what a kernel is too old for, when it says so. Vendors add features to old ones, so
// the test first tries.
func mayLack(t *testing.T, l Layout, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	for _, lacks := range []struct {
		need         bool
		major, minor int
	}{
		{l.Tree == TreeLoop, 5, 15}, {l.Data == DataOnly, 6, 5}, {l.Tree == TreeFile, 6, 12},
	} {
		if lacks.need && major*1000+minor < lacks.major*1000+lacks.minor {
			t.Skipf("needs Linux %d.%d, this is %d.%d", lacks.major, lacks.minor, major, minor)
		}
	}
	if errors.Is(err, unix.ENODEV) {
		t.Skipf("needs the kernel to have EROFS: %v", err)
	}
}

func checkRoot(t *testing.T, root string) {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"bin", "etc", "tmp", "usr"}; !slices.Equal(names, want) {
		t.Errorf("root has %q, want %q", names, want)
	}
	for name, want := range map[string]string{
		"usr/bin/big": strings.Repeat("usr/bin/big\n", 1000), "bin/twin": strings.Repeat("usr/bin/big\n", 1000),
		"usr/lib/big2": strings.Repeat("usr/lib/big2\n", 1000), "etc/small": "small", "etc/packed": "packed",
	} {
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(got) != want {
			t.Errorf("%s has %d bytes, %v; want %d", name, len(got), err, len(want))
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "usr/bin/big"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode != unix.S_IFREG|0o4755 || st.Uid != 12 || st.Gid != 34 || st.Mtim != (unix.Timespec{Sec: 1_234_567, Nsec: 89}) || st.Nlink != 2 {
		t.Errorf("usr/bin/big: mode %o, owner %d:%d, time %v, %d links", st.Mode, st.Uid, st.Gid, st.Mtim, st.Nlink)
	}
	value := make([]byte, 100)
	if n, err := unix.Getxattr(filepath.Join(root, "usr/bin/big"), "user.note", value); err != nil || string(value[:n]) != "hello" {
		t.Errorf("user.note = %q, %v", value[:max(n, 0)], err)
	}
}

func TestWritesGoToTheUpperLayer(t *testing.T) {
	f := newFixture(t)
	root, err := f.mount(t, Layout{TreeStubs, DataLower}, true) // what every kernel has
	if err != nil {
		t.Fatal(err)
	}
	big := filepath.Join(root, "usr/lib/big2")
	if err := os.Chmod(big, 0o700); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	upper := filepath.Join(filepath.Dir(root), "upper", "usr/lib/big2")
	if err := unix.Stat(upper, &st); err != nil {
		t.Fatal(err)
	}
	if st.Blocks*512 > 8192 {
		t.Errorf("a chmod copied %d bytes", st.Blocks*512)
	}
	if err := os.WriteFile(filepath.Join(root, "usr/bin/big"), []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(root, "etc/small")); err != nil {
		t.Fatal(err)
	}
	other, err := f.mount(t, Layout{TreeStubs, DataLower}, false)
	if err != nil {
		t.Fatal(err)
	}
	checkRoot(t, other)
}

func TestDirectoriesNamedAsObjectsAre(t *testing.T) {
	for _, l := range layouts() {
		t.Run(l.String(), func(t *testing.T) {
			f := newFixture(t, "a/file", "0")
			root, err := f.mount(t, l, false)
			if l.Data == DataLower && l.Tree != TreeStubs {
				if err == nil {
					t.Error("mounted, and the image's /a is mixed with objects")
				}
				return
			}
			mayLack(t, l, err)
			if err != nil {
				t.Fatal(err)
			}
			names, err := os.ReadDir(filepath.Join(root, "a"))
			if err != nil || len(names) != 1 {
				t.Errorf("/a has %v, %v", names, err)
			}
			if got, err := os.ReadFile(filepath.Join(root, "0")); err != nil || len(got) != 2000 {
				t.Errorf("/0 has %d bytes, %v", len(got), err)
			}
		})
	}
}

func TestMissingObjectIsNamed(t *testing.T) {
	f := newFixture(t)
	if err := os.RemoveAll(f.tree.Data[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(f.tree.Data[0], 0o755); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(f.dir, "root")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := f.mounter.Mount(Mount{Tree: f.tree, Target: target})
	if err == nil || !strings.Contains(err.Error(), "usr/bin/") {
		t.Errorf("err = %v", err)
	}
	if text, _ := os.ReadFile("/proc/self/mounts"); bytes.Contains(text, []byte(target)) {
		t.Error("still mounted")
	}
}

func TestFirstLayoutThatWorksIsRemembered(t *testing.T) {
	f := newFixture(t)
	target := filepath.Join(f.dir, "root")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	first, err := f.mounter.Mount(Mount{Tree: f.tree, Target: target})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(target, 0); err != nil {
		t.Fatal(err)
	}
	if got := f.mounter.order()[0]; got != first {
		t.Errorf("next time %s is tried first, not %s", got, first)
	}
}

func TestPathsWithColonsAndCommas(t *testing.T) {
	f := newFixture(t)
	odd := filepath.Join(f.dir, `a:b,c\d e`)
	if err := os.Rename(f.tree.Data[0], odd); err != nil {
		t.Fatal(err)
	}
	f.tree.Data[0] = odd
	l := Layout{TreeStubs, DataLower}
	root, err := f.mount(t, l, false)
	if err != nil {
		t.Fatal(err)
	}
	checkRoot(t, root)
}

func TestParseLayout(t *testing.T) {
	for _, l := range layouts() {
		if got, err := ParseLayout(l.String()); err != nil || got != l {
			t.Errorf("ParseLayout(%q) = %v, %v", l, got, err)
		}
	}
	if _, err := ParseLayout("tape+only"); err == nil {
		t.Error("a layout of tape is accepted")
	}
}

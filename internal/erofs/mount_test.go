package erofs_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
)

// needRoot skips a test that mounts.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
}

// mount mounts an image on a new directory, as the store does: the file itself is the source, or
// before Linux 6.12 a loop device.
func mount(t *testing.T, image string) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	err := unix.Mount(image, dir, "erofs", unix.MS_RDONLY, "directio")
	if errors.Is(err, unix.ENOTBLK) || errors.Is(err, unix.EINVAL) {
		err = unix.Mount(loop(t, image), dir, "erofs", unix.MS_RDONLY, "")
	}
	if errors.Is(err, unix.ENODEV) {
		t.Skip("this kernel has no erofs")
	}
	if errors.Is(err, unix.EINVAL) && needsChunks(t, image) {
		t.Skipf("this kernel has no chunk-based files: %v", err)
	}
	if err != nil {
		t.Fatalf("mount %s: %v", image, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// needsChunks tells whether the superblock says that Linux 5.15 is needed.
func needsChunks(t *testing.T, image string) bool {
	t.Helper()
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return b[superStart+80]&4 != 0
}

// loop returns a loop device of an image, which goes away with its mount.
func loop(t *testing.T, image string) string {
	t.Helper()
	control, err := os.Open("/dev/loop-control")
	if err != nil {
		t.Skipf("needs loop devices: %v", err)
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprint("/dev/loop", n)
	device, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { device.Close() }) // after the unmount: without a user the device is freed
	file, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.IoctlSetInt(int(device.Fd()), unix.LOOP_SET_FD, int(file.Fd())); err != nil {
		t.Fatal(err)
	}
	info := unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_READ_ONLY}
	if err := unix.IoctlLoopSetStatus64(int(device.Fd()), &info); err != nil {
		t.Fatal(err)
	}
	return path
}

// overlay mounts an image over a directory of objects, read-only.
func overlay(t *testing.T, meta, objects string) string {
	t.Helper()
	dir := t.TempDir()
	const options = ",metacopy=on,redirect_dir=follow"
	err := unix.Mount("overlay", dir, "overlay", unix.MS_RDONLY, "lowerdir="+meta+"::"+objects+options)
	if errors.Is(err, unix.EINVAL) { // Linux < 6.5 has no data-only layers
		err = unix.Mount("overlay", dir, "overlay", unix.MS_RDONLY, "lowerdir="+meta+":"+objects+options)
	}
	if err != nil {
		t.Fatalf("mount overlay: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// fsck runs fsck.erofs, which reads all of an image, when it is there.
func fsck(t *testing.T, image string) {
	t.Helper()
	tool, err := exec.LookPath("fsck.erofs")
	if err != nil {
		t.Log("no fsck.erofs (package erofs-utils): the image is not checked with it")
		return
	}
	out, err := exec.Command(tool, "-d3", image).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("<E>")) {
		t.Fatalf("fsck.erofs %s: %v\n%s", image, err, out)
	}
}

// object stores contents as the object store does and returns the redirect to it.
func object(t *testing.T, objects string, contents []byte) string {
	t.Helper()
	sum := sha256.Sum256(contents)
	name := hex.EncodeToString(sum[:])
	path := filepath.Join(objects, name[:1], name[1:])
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, contents, 0o444); err != nil {
		t.Fatal(err)
	}
	return "/" + name[:1] + "/" + name[1:]
}

func TestOverlayReadsThroughRedirects(t *testing.T) {
	needRoot(t)
	t.Run("holes", func(t *testing.T) { testOverlay(t, erofs.Options{}) })
	t.Run("no chunks", func(t *testing.T) { testOverlay(t, erofs.Options{NoChunks: true}) })
}

func testOverlay(t *testing.T, options erofs.Options) {
	objects := t.TempDir()
	large := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	path := filepath.Join(t.TempDir(), "tree.erofs")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	w := erofs.NewWriter(f, options)
	add := func(n erofs.Inode) erofs.NID {
		nid, err := w.Add(&n)
		if err != nil {
			t.Fatal(err)
		}
		return nid
	}
	small := add(erofs.Inode{Mode: unix.S_IFREG | 0o640, UID: 7, GID: 70000, Mtime: 1234567890, MtimeNsec: 42, Data: []byte("hello\n")})
	big := add(erofs.Inode{Mode: unix.S_IFREG | 0o4755, Size: int64(len(large)), Redirect: object(t, objects, large)})
	link := add(erofs.Inode{Mode: unix.S_IFLNK | 0o777, Data: []byte("sub/big")})
	root := &erofs.Dir{Inode: erofs.Inode{Mode: unix.S_IFDIR | 0o755}, Entries: []erofs.Entry{
		{Name: "small", NID: small, Type: unix.S_IFREG},
		{Name: "link", NID: link, Type: unix.S_IFLNK},
		{Name: "sub", Type: unix.S_IFDIR, Dir: &erofs.Dir{Inode: erofs.Inode{Mode: unix.S_IFDIR | 0o1777}, Entries: []erofs.Entry{
			{Name: "big", NID: big, Type: unix.S_IFREG},
			{Name: "also", NID: big, Type: unix.S_IFREG},
		}}},
	}}
	size, err := w.Finish(root)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != size || size%4096 != 0 {
		t.Errorf("Finish returns %d, the file has %d bytes", size, info.Size())
	}
	fsck(t, path)

	dir := overlay(t, mount(t, path), objects)
	for name, want := range map[string][]byte{"small": []byte("hello\n"), "link": large, "sub/also": large} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; want %d bytes", name, len(got), err, len(want))
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dir, "sub/big"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode != unix.S_IFREG|0o4755 || st.Nlink != 2 || st.Size != int64(len(large)) {
		t.Errorf("sub/big: mode %#o, %d links, %d bytes", st.Mode, st.Nlink, st.Size)
	}
}

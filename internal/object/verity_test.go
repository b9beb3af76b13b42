package object

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A bit that changes on the medium is an I/O error for the reader, not a bad byte.
func TestKernelVerifiesObjectsWhereItCan(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	dir := t.TempDir()
	image, at := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
	run := func(name string, args ...string) ([]byte, error) {
		return exec.Command(name, args...).CombinedOutput()
	}
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 32<<20), os.Mkdir(at, 0o755)); err != nil {
		t.Fatal(err)
	}
	if out, err := run("mkfs.ext4", "-q", "-b", "4096", "-O", "verity", image); err != nil {
		t.Fatalf("mkfs.ext4: %v %s", err, out)
	}
	if out, err := run("mount", "-o", "loop", image, at); err != nil {
		t.Skipf("needs the kernel to have fs-verity: %v %s", err, out)
	}
	mounted := true
	t.Cleanup(func() {
		if mounted {
			_ = unix.Unmount(at, 0)
		}
	})
	d, err := Open(filepath.Join(at, "objects"))
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("a line that can be found on the disk\n"), 3000)
	digest := put(t, d.NewWriter(set{}, 0), data).Digest
	if !d.verity { // as the first object has shown
		d.Close()
		t.Skip("needs the kernel to have fs-verity")
	}
	if again := put(t, d.NewWriter(set{}, 0), data); again.Written != 0 {
		t.Errorf("written again: %d bytes", again.Written)
	}
	path := filepath.Join(d.path, digest.Path())
	if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
		f.Close()
		t.Error("an object that the kernel verifies can be opened to write")
	}
	d.Close()
	if err := unix.Unmount(at, 0); err != nil {
		t.Fatal(err)
	}
	mounted = false
	raw, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	found := bytes.Index(raw, []byte("found on the disk"))
	if found < 0 {
		t.Fatal("the object is not on the disk")
	}
	raw[found] ^= 1
	if err := os.WriteFile(image, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run("mount", "-o", "loop", image, at); err != nil {
		t.Fatalf("mount: %v %s", err, out)
	}
	mounted = true
	if d, err = Open(filepath.Join(at, "objects")); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	f, err := d.Open(digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.ReadAll(f); !errors.Is(err, unix.EIO) {
		t.Errorf("a damaged object reads as %v", err)
	}
	if _, err := d.Scrub(digest); !errors.Is(err, ErrDamaged) {
		t.Errorf("Scrub = %v", err)
	}
}

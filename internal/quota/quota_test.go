package quota

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestSizesAreTheKernels(t *testing.T) {
	for name, c := range map[string]struct{ got, want uintptr }{
		"fsxattr":          {unsafe.Sizeof(fsxattr{}), 28},
		"if_dqblk":         {unsafe.Sizeof(dqblk{}), 72},
		"fs_quota_statv's": {unsafe.Offsetof(statv{}.Flags), 2},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, c.got, c.want)
		}
	}
}

func TestFileSystemWithoutProjectsIsAnError(t *testing.T) {
	dir := mount(t, "tmpfs", "tmpfs", "")
	if err := Limit(dir, 1<<20); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), dir) {
		t.Errorf("Limit = %v", err)
	}
	if u, ok, err := Of(dir); ok || err != nil || u != (Usage{}) {
		t.Errorf("Of = %v, %v, %v", u, ok, err)
	}
	if err := Release(dir); err != nil {
		t.Errorf("Release = %v", err)
	}
	if err := Limit(filepath.Join(dir, "none"), 1<<20); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Limit of nothing = %v", err)
	}
}

func TestLimitBoundsADirectory(t *testing.T) {
	top := ext4(t)
	dir := func(name string) string {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a := dir("a")
	if err := Limit(a, 1<<20); err != nil {
		t.Fatal(err)
	}
	b := dir("a/inside") // has its project from above, and so none of its own
	if _, ok, err := Of(b); ok || err != nil {
		t.Errorf("Of(inside) = %v, %v", ok, err)
	}
	if err := bounded(t, filepath.Join(b, "file"), 2<<20); !errors.Is(err, unix.EDQUOT) {
		t.Errorf("2 MiB in 1: %v", err)
	}
	if u, ok, err := Of(a); !ok || err != nil || u.Limit != 1<<20 || u.Used > 1<<20 || u.Used < 1<<19 {
		t.Errorf("Of = %v, %v, %v", u, ok, err)
	}
	if err := Limit(a, 4<<20); err != nil {
		t.Fatal(err)
	}
	if err := bounded(t, filepath.Join(b, "file"), 2<<20); err != nil {
		t.Errorf("2 MiB in 4: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir("old"), "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Limit(dir("old"), 1<<20); err == nil {
		t.Error("files that are not counted got a limit")
	}
	if err := Release(a); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := Of(a); ok || err != nil {
		t.Errorf("after Release: %v, %v", ok, err)
	}
	c := dir("c") // a's number is taken as long as a is there
	if err := Limit(c, 1<<20); err != nil {
		t.Fatal(err)
	}
	if p, q := projectOf(t, a), projectOf(t, c); p == q {
		t.Errorf("two directories have project %d", p)
	}
}

func projectOf(t *testing.T, dir string) uint32 {
	t.Helper()
	d, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	id, err := d.own()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// bounded writes a file as a user without CAP_SYS_RESOURCE.
func bounded(t *testing.T, path string, size int) error {
	t.Helper()
	cmd := exec.Command("setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource",
		"dd", "if=/dev/zero", "of="+path, "bs=64k", "conv=fsync", "count="+strconv.Itoa(size>>16))
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "quota exceeded") {
		return unix.EDQUOT
	}
	if err != nil {
		t.Fatalf("dd: %v\n%s", err, out)
	}
	return nil
}

func mount(t *testing.T, source, kind, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN")
	}
	dir := t.TempDir()
	if err := unix.Mount(source, dir, kind, 0, options); err != nil {
		t.Skipf("needs the kernel to have quotas of %s: %v", kind, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// ext4 has project quotas.
func ext4(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN")
	}
	file := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, 64<<20)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota", file).CombinedOutput()
	if err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	out, err = exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v\n%s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach: %v\n%s", err, out)
		}
	})
	return mount(t, device, "ext4", "prjquota")
}

package container

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func openDir(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func link(t testing.TB, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Links are followed as a process inside would, whatever they point to.
func TestPlacesAreMadeInside(t *testing.T) {
	outside := t.TempDir()
	for name, tc := range map[string]struct {
		links map[string]string
		path  string
		file  bool
		want  string // what must be there then
	}{
		"plain":           {nil, "/a/b/c", false, "a/b/c"},
		"file":            {nil, "/a/b", true, "a/b"},
		"dangling":        {map[string]string{"link": "/not/there"}, "/link/sub", false, "not/there/sub"},
		"dangling file":   {map[string]string{"resolv.conf": "../run/stub/resolv.conf"}, "/resolv.conf", true, "run/stub/resolv.conf"},
		"upwards":         {map[string]string{"link": "../../../../../../x"}, "link", false, "x"},
		"out of the root": {map[string]string{"link": outside}, "/link/made", false, outside + "/made"},
		"chain":           {map[string]string{"one": "two", "two": "/three/", "three": "./four"}, "/one/x", false, "four/x"},
		"dots":            {nil, "/a/../b/./c//", false, "b/c"},
	} {
		root := t.TempDir()
		for l, target := range tc.links {
			link(t, target, filepath.Join(root, l))
		}
		before := descriptors(t)
		fd := openDir(t, root)
		if err := makeIn(fd, tc.path, tc.file); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n := descriptors(t); n != before+1 {
			t.Errorf("%s: %d descriptors are left open", name, n-before-1)
		}
		info, err := os.Lstat(filepath.Join(root, tc.want))
		if err != nil || info.IsDir() == tc.file {
			t.Errorf("%s: %v, %v, want a file: %v", name, info, err, tc.file)
		}
	}
	if entries, _ := os.ReadDir(outside); len(entries) > 0 {
		t.Errorf("outside of the root now is %v", entries)
	}
}

func TestPlacesThatCannotBe(t *testing.T) {
	root := t.TempDir()
	link(t, "b", filepath.Join(root, "a"))
	link(t, "a", filepath.Join(root, "b"))
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	fd := openDir(t, root)
	before := descriptors(t)
	if err := makeIn(fd, "/a/x", false); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a circle of links: %v, want ELOOP", err)
	}
	if err := makeIn(fd, "/file/x", false); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("below a file: %v, want ENOTDIR", err)
	}
	if _, err := resolveIn(fd, "/not/there", nil); !errors.Is(err, unix.ENOENT) {
		t.Errorf("what is missing: %v, want ENOENT", err)
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors are left open", n-before)
	}
}

func TestHomeComesFromTheContainersPasswd(t *testing.T) {
	root := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc/passwd"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := homeOf(root, 0); got != "/root" {
		t.Errorf("without a passwd root's home is %s", got)
	}
	write("root:x:0:0::/home/of/root:/bin/sh\nshort:x:7\n:::::\nuser:x:1000:1000::/home/user:/bin/sh\nnone:x:5:5:::\n\x00\xff\n")
	for uid, want := range map[uint32]string{0: "/home/of/root", 1000: "/home/user", 7: "/", 5: "/", 4242: "/"} {
		if got := homeOf(root, uid); got != want {
			t.Errorf("home of %d: %s, want %s", uid, got, want)
		}
	}
}

// An image may try to make the runtime read something else, or wait for ever.
func TestHostilePasswdIsNotRead(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x:x:1000:1000::/leaked:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]func(path string) error{
		"link out of the root": func(p string) error { return os.Symlink(secret, p) },
		"relative link out":    func(p string) error { return os.Symlink("../../../../../../../.."+secret, p) },
		"magic link":           func(p string) error { return os.Symlink("/proc/self/fd/0", p) },
		"FIFO":                 func(p string) error { return unix.Mkfifo(p, 0o644) },
		"directory":            func(p string) error { return os.Mkdir(p, 0o755) },
		"huge": func(p string) error {
			return errors.Join(os.WriteFile(p, nil, 0o644), os.Truncate(p, 1<<40))
		},
	} {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := plant(filepath.Join(root, "etc/passwd")); err != nil {
			t.Fatal(err)
		}
		if got := homeOf(root, 1000); got != "/" {
			t.Errorf("%s: home %s, want /", name, got)
		}
	}
	// Kernels without openat2 follow no link at all.
	root := t.TempDir()
	link(t, filepath.Dir(secret), filepath.Join(root, "etc"))
	if fd, err := openPlain(openDir(t, root), "etc/secret", unix.O_RDONLY); err == nil {
		_ = unix.Close(fd)
		t.Error("a link to a directory was followed")
	}
}

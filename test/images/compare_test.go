package images

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// snapshot is all that can be seen of the tree in dir, by path: type, mode, owner, time, size,
// contents, target, device, extended attributes, and which names are the same file.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	first := map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path) // it is below
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%o %d:%d %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			sum, err := hashOf(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" size %d %s", st.Size, sum)
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" to %q", target)
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if first[st.Ino] == "" {
				first[st.Ino] = name
			}
			line += fmt.Sprintf(" links %d same as %q", st.Nlink, first[st.Ino])
		}
		attributes, err := attributesOf(path)
		all[name] = line + attributes
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func hashOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

func attributesOf(path string) (string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		return "", fmt.Errorf("listxattr %s: %w", path, err)
	}
	names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	slices.Sort(names)
	var all strings.Builder
	for _, name := range names {
		if name == "" {
			continue
		}
		n, err := unix.Lgetxattr(path, name, buf)
		if err != nil {
			return "", fmt.Errorf("getxattr %s %s: %w", path, name, err)
		}
		fmt.Fprintf(&all, " %q=%q", name, buf[:n])
	}
	return all.String(), nil
}

// same compares two trees.
func same(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	wrong := 0
	report := func(format string, args ...any) {
		if wrong++; wrong <= 20 {
			t.Errorf(what+": "+format, args...)
		}
	}
	for path, w := range want {
		g, ok := got[path]
		switch {
		case !ok:
			report("%q is missing", path)
		case g != w:
			report("%q\n got %s\nwant %s", path, g, w)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			report("%q should not be there", path)
		}
	}
	if wrong > 0 {
		t.Fatalf("%s: %d of %d paths differ", what, wrong, len(want))
	}
	if len(want) == 0 {
		t.Fatalf("%s: there is nothing to compare", what)
	}
}

// gnuTar unpacks a tar file with all it has.
func gnuTar(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, needProgram(t, "tar"), "--numeric-owner", "--same-owner", "--xattrs", "--xattrs-include=*", "-xpf", file, "-C", dir)
	return dir
}

// umoci unpacks an image of a layout.
func umoci(t *testing.T, layout, tag string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	run(t, needProgram(t, "umoci"), "raw", "unpack", "--image", layout+":"+tag, dir)
	return dir
}

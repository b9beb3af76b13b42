package container

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const statLine = "42 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 987654 1000 2 18446744073709551615 0 0 0"

func TestParseStat(t *testing.T) {
	p, state, err := parseStat(statLine)
	if err != nil || p != (process{42, 987654}) || state != 'S' {
		t.Errorf("got %v, %c, %v", p, state, err)
	}
	// Its first thread has ended, another one runs.
	if _, state, err := parseStat(strings.Replace(strings.Replace(statLine, ") S", ") Z", 1), " 20 0 1 0", " 20 0 2 0", 1)); err != nil || state != 'R' {
		t.Errorf("a zombie with a thread: %c, %v, want R", state, err)
	}
	for _, line := range []string{"", "42", "42 (sh", "42 (sh) S", "x (sh) S 1", strings.TrimSuffix(statLine, " 987654 1000 2 18446744073709551615 0 0 0"), strings.Replace(statLine, "987654", "soon", 1)} {
		if p, _, err := parseStat(line); err == nil {
			t.Errorf("parseStat(%q) = %v, want an error", line, p)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add(statLine)
	f.Add("1 ())) Z 1")
	f.Fuzz(func(t *testing.T, line string) {
		if p, state, err := parseStat(line); err == nil && (p.start == 0 && !strings.Contains(line, "0") || state == ' ') {
			t.Errorf("parseStat(%q) = %v, %c", line, p, state)
		}
	})
}

func TestExitCode(t *testing.T) {
	for ws, want := range map[unix.WaitStatus]int{0: 0, 42 << 8: 42, 255 << 8: 255, 9: 137, 15 | 0x80: 143} {
		if got := exitCode(ws); got != want {
			t.Errorf("exitCode(%#x) = %d, want %d", int(ws), got, want)
		}
	}
}

func TestPidFileAppearsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pid")
	for _, pid := range []int{7, 123456} { // the second one takes the place of the first
		if err := writePidFile(path, pid); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil || string(b) != "123456" {
		t.Errorf("%q, %v", b, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left %v", entries)
	}
	if err := writePidFile(filepath.Join(dir, "missing/pid"), 1); err == nil {
		t.Error("a directory that is missing is no error")
	}
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writePidFile(filepath.Join(dir, "taken"), 1); err == nil {
		t.Error("a directory in its place is no error")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("failures left %v", entries)
	}
}

func TestCopyKeepsWhatItCopies(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(src, "dir/sub"), 0o750); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"plain": 0o640, "dir/setuid": 0o4755, "dir/sub/deep": 0o400} {
		path := filepath.Join(src, name)
		if err := os.WriteFile(path, []byte("content of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := unix.Chmod(path, uint32(mode)); err != nil {
			t.Fatal(err)
		}
	}
	link(t, "/etc/shadow", filepath.Join(src, "link"))
	if err := unix.Mkfifo(filepath.Join(src, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := copyDir(openRead(t, src), openRead(t, dst)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"plain", "dir/setuid", "dir/sub/deep", "link", "fifo", "dir", "dir/sub"} {
		var a, b unix.Stat_t
		if err := unix.Lstat(filepath.Join(src, name), &a); err != nil {
			t.Fatal(err)
		}
		if err := unix.Lstat(filepath.Join(dst, name), &b); err != nil || a.Mode != b.Mode || a.Uid != b.Uid || a.Size != b.Size && a.Mode&unix.S_IFMT != unix.S_IFDIR {
			t.Errorf("%s: %v: mode %o, size %d, want %o, %d", name, err, b.Mode, b.Size, a.Mode, a.Size)
		}
	}
	if got, err := os.Readlink(filepath.Join(dst, "link")); got != "/etc/shadow" {
		t.Errorf("the link leads to %s, %v", got, err)
	}
	if got, err := os.ReadFile(filepath.Join(dst, "dir/sub/deep")); string(got) != "content of dir/sub/deep" {
		t.Errorf("%q, %v", got, err)
	}
}

func openRead(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

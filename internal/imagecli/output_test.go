package imagecli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOutputReplacesFilesAlone(t *testing.T) {
	dir := t.TempDir()
	file, link, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink("file", link), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(fifo, os.O_RDWR, 0) // so that a writer needs not wait for one
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for path, kind := range map[string]os.FileMode{file: 0, link: os.ModeSymlink, fifo: os.ModeNamedPipe} {
		o, err := newOutput(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(o, "new"); err != nil {
			t.Fatal(err)
		}
		if err := o.end(nil); err != nil {
			t.Errorf("end of %s = %v", path, err)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode().Type() != kind {
			t.Errorf("%s is %v, %v, want %v", path, info.Mode(), err, kind)
		}
		if got, err := os.ReadFile(file); path != fifo && (err != nil || string(got) != "new") {
			t.Errorf("%s holds %q, %v", path, got, err)
		}
		if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOutputThatFailsLeavesTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := newOutput(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.end(io.ErrUnexpectedEOF); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("end = %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if got, _ := os.ReadFile(path); err != nil || len(entries) != 1 || string(got) != "old" {
		t.Errorf("%d files, %q, %v, want the old one", len(entries), got, err)
	}
}

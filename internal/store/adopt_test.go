package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A file that another program has locked is waited for, as long as nobody interrupts, and this is told.
func TestAdoptTellsWhatItWaitsFor(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: only its files are adopted")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, make([]byte, 10_000), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := open1(t)
	lock := func() {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
	}
	lock()
	ctx, cancel := context.WithCancel(t.Context())
	var told []string
	_, err = s.Adopt(ctx, dir, AdoptOptions{Name: "base", Waiting: func(path string) {
		told = append(told, path)
		cancel()
	}})
	if !errors.Is(err, unix.EWOULDBLOCK) || len(told) != 1 || told[0] != path {
		t.Errorf("interrupted: %v, told of %q", err, told)
	}
	a, err := s.Adopt(t.Context(), dir, AdoptOptions{Name: "base", Waiting: func(string) {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
			t.Error(err)
		}
	}})
	if err != nil || a.Files != 1 {
		t.Errorf("unlocked: %+v, %v", a, err)
	}
}

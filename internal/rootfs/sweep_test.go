package rootfs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSweepStubsKeepsWhatIsThereOrBeingMade(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"here", "here-hiding", "gone", "gone-hiding", ".new-killed", ".new-made"} {
		if err := os.MkdirAll(filepath.Join(dir, name, "usr"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	own, err := lockDir(filepath.Join(dir, ".new-made"), unix.LOCK_EX)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if err := SweepStubs(dir, func(key string) bool { return key == "here" }); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{".new-made", "here", "here-hiding"}; !slices.Equal(names, want) {
		t.Errorf("left: %q, want %q", names, want)
	}
	if err := SweepStubs(filepath.Join(dir, "none"), nil); err != nil {
		t.Errorf("no stubs: %v", err)
	}
}

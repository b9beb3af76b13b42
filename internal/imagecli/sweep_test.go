package imagecli

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSweepTakesWhatWasNeverMade: a command that was killed while it made a container left one that is being created
// for ever, and holds its image.
func TestSweepTakesWhatWasNeverMade(t *testing.T) {
	s := &session{run: t.TempDir(), root: t.TempDir()}
	const id = "half"
	dir, state := filepath.Join(s.run, "containers", id), filepath.Join(s.run, "runtime", id)
	for _, d := range []string{dir, state} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	text := `{"ociVersion":"1.3.0","id":"half","bundle":"` + dir + `","rootfs":"` + dir + `/rootfs"}`
	for name, text := range map[string]string{"config.json": `{"ociVersion":"1.3.0"}`, "state.json": text} {
		if err := os.WriteFile(filepath.Join(state, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.sweep(); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, state} {
		if _, err := os.Stat(d); err == nil {
			t.Errorf("%s is left", d)
		}
	}
}

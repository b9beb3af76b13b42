package imagecli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/store"
)

// One image that cannot be read keeps no command from telling of the others, and can be removed.
func TestDamagedImageStopsOnlyWhatMustKnowIt(t *testing.T) {
	for _, file := range []string{"manifest.json", "tree*"} {
		t.Run(file, func(t *testing.T) {
			dir := t.TempDir()
			st, err := store.Open(filepath.Join(dir, "store"), store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			s := &session{root: dir, run: filepath.Join(dir, "run")}
			bad, good := commit(t, st, "bad"), commit(t, st, "good")
			found, err := filepath.Glob(filepath.Join(st.Dir(), "images", bad.Digest.Encoded(), file))
			if err != nil || len(found) != 1 {
				t.Fatalf("%s: %q, %v", file, found, err)
			}
			if err := os.Truncate(found[0], 10); err != nil {
				t.Fatal(err)
			}

			u, err := st.Usage()
			if err != nil || len(u.Images) != 2 || u.Images[0].Damage == "" || u.Images[1].Digest != good.Digest || u.Images[1].Damage != "" {
				t.Errorf("Usage = %+v, %v", u.Images, err)
			}
			r, err := s.measureRAM(st)
			if err != nil || len(r.Images) != 2 || r.Images[0].Damage == "" || r.Images[1].Damage != "" {
				t.Errorf("measureRAM = %+v, %v", r.Images, err)
			}
			_, err = st.GC()
			err = mendable(st, err)
			if err == nil || !strings.Contains(err.Error(), "tare store repair") || !strings.Contains(err.Error(), "tare rmi localhost/bad:1") {
				t.Errorf("GC = %v, want it to say how to go on", err)
			}
			var out bytes.Buffer
			if err := remove(s, &cli.Call{IO: cli.IO{Out: &out}}, st, "localhost/bad:1"); err != nil {
				t.Errorf("rmi of the damaged image: %v", err)
			}
			if _, err := st.GC(); err != nil {
				t.Errorf("GC without the damaged image: %v", err)
			}
		})
	}
}

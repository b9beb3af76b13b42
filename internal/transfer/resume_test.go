package transfer_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/blob"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

// layersOf makes n layers of more than a MiB, with small files, large ones, links and whiteouts.
func layersOf(t *testing.T, n int) [][]byte {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 4))
	text := func(size int) string {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(r.IntN(256))
		}
		return string(b)
	}
	var all [][]byte
	for l := range n {
		dir := fmt.Sprintf("l%d/", l)
		files := [][2]string{{dir + "large", text(1 << 20)}, {dir + "link", "->" + dir + "large"}, {dir + "passing", "p"}}
		for i := range 50 {
			files = append(files, [2]string{fmt.Sprint(dir, i), text(1 + i*200)})
		}
		if l > 0 {
			files = append(files, [2]string{fmt.Sprintf("l%d/.wh.passing", l-1), ""})
		}
		all = append(all, tarOf(t, files...))
	}
	return all
}

// opened counts how often each layer was fetched.
func (p *place) opened(m []v1.Descriptor) []int {
	count := make([]int, len(m))
	for n, d := range m {
		for _, s := range p.steps {
			if s == "open "+d.Digest.Encoded()[:8] {
				count[n]++
			}
		}
	}
	return count
}

func treeBytes(t *testing.T, i *store.Image) []byte {
	t.Helper()
	path, err := i.TreePath()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestPullGoesOnAfterACut: layers that were unpacked are not fetched again by another process, and the image is the
// same to the byte.
func TestPullGoesOnAfterACut(t *testing.T) {
	const n = 7
	layers := layersOf(t, n)
	whole := newPlace()
	whole.layered(t, "app", layers...)
	want, err := transfer.Pull(t.Context(), whole, "app", newStore(t), transfer.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := transfer.PullOptions{Blob: blob.Options{Attempts: -1}}
	for name, spoil := range map[string]func(t *testing.T, s *store.Store){
		"": func(*testing.T, *store.Store) {},
		"notes damaged": func(t *testing.T, s *store.Store) {
			change(t, filepath.Join(s.Dir(), "tmp", "resume", "*"), func(b []byte) { b[len(b)/2] ^= 1 })
		},
		"packs damaged": func(t *testing.T, s *store.Store) {
			change(t, filepath.Join(s.Dir(), "packs", "*"), func(b []byte) { b[len(b)/2] ^= 1 })
		},
		"objects damaged": func(t *testing.T, s *store.Store) {
			change(t, filepath.Join(s.Dir(), "objects", "*", "*"), func(b []byte) { b[len(b)/2] ^= 1 })
		},
		"gc": func(t *testing.T, s *store.Store) {
			if _, err := s.GC(); err != nil {
				t.Fatal(err)
			}
			for _, pattern := range []string{"packs/*", "objects/*/*", "tmp/*"} {
				if left, _ := filepath.Glob(filepath.Join(s.Dir(), pattern)); len(left) > 0 {
					t.Errorf("gc left %v", left)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := newPlace(), newStore(t)
			p.layered(t, "app", layers...)
			m, _, err := want.Image.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			cut := 5
			p.fail["open "+m.Layers[cut].Digest.Encoded()[:8]] = errors.New("the line is cut")
			if _, err := transfer.Pull(t.Context(), p, "app", s, o); err == nil {
				t.Fatal("pulled over a line that is cut")
			}
			clear(p.fail)
			spoil(t, s)
			p.steps = nil
			got, err := transfer.Pull(t.Context(), p, "app", s, o)
			if err != nil {
				t.Fatal(err)
			}
			count := p.opened(m.Layers)
			for l, times := range count {
				// The fifth checkpoint is one too many.
				if again := name != "" || l >= 4; times > 1 || again != (times == 1) {
					t.Errorf("layers fetched again: %v", count)
					break
				}
			}
			if !bytes.Equal(treeBytes(t, got.Image), treeBytes(t, want.Image)) || got.Bytes != want.Bytes || got.Files != want.Files {
				t.Errorf("another image: %+v, want %+v", got.Stats, want.Stats)
			}
			if r, err := s.Verify(t.Context(), store.VerifyOptions{}); err != nil || len(r.Damaged) > 0 {
				t.Errorf("Verify = %+v, %v", r, err)
			}
			left, err := filepath.Glob(filepath.Join(s.Dir(), "tmp", "resume", "*"))
			files, err2 := filepath.Glob(filepath.Join(s.Dir(), "images", "*", "*"))
			if err != nil || err2 != nil || len(left) > 0 || len(files) != 4 {
				t.Errorf("left %v; the image is %v", left, files)
			}
		})
	}
}

// change changes bytes of files.
func change(t *testing.T, pattern string, how func([]byte)) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatal(pattern, files, err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, ".") {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		how(b)
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

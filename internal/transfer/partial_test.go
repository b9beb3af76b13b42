package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/blob"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/toc"
	"tare.dev/tare/internal/transfer"
	"tare.dev/tare/internal/tree"
)

// A maker makes a layer with a table of contents.
type maker func(t testing.TB, stream []byte, change func(map[string]any)) *tabled

func makers() map[string]maker {
	return map[string]maker{
		"zstd:chunked": chunkedLayer,
		"estargz":      func(t testing.TB, s []byte, c func(map[string]any)) *tabled { return stargzLayer(t, s, 0, c) },
		"estargz, members of 60,000": func(t testing.TB, s []byte, c func(map[string]any)) *tabled {
			return stargzLayer(t, s, 60_000, c)
		},
	}
}

// watched pulls, and tells why layers were fetched whole.
func watched(t *testing.T, src transfer.Source, name string, s *store.Store) (transfer.Pulled, []error, error) {
	t.Helper()
	var whole []error
	got, err := transfer.Pull(t.Context(), src, name, s, transfer.PullOptions{
		Progress: func(e transfer.Event) {
			if e.Kind == "whole" {
				whole = append(whole, e.Cause)
			}
		},
		Blob: blob.Options{Pause: time.Millisecond},
	})
	return got, whole, err
}

// treeOf is the name of an image's tree, which has its digest in it.
func treeOf(t *testing.T, i *store.Image) string {
	t.Helper()
	name, err := i.TreePath()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(name)
}

func TestPartOfALayerGivesTheTreeOfTheWhole(t *testing.T) {
	for name, layer := range makers() {
		t.Run(name, func(t *testing.T) {
			nsec := 0 // eStargz has no more
			if name == "zstd:chunked" {
				nsec = 123_456_789
			}
			below := layer(t, tarOf(t, [2]string{"bin/gone", large}), nil)
			src := newPlace()
			src.tabledImage(t, "1", below, layer(t, everything(t, "", nsec), nil))
			new := layer(t, everything(t, "file20", nsec), nil)
			src.tabledImage(t, "2", below, new)

			first := newStore(t)
			all, whole, err := watched(t, src, "2", first)
			if err != nil || len(whole) == 0 {
				t.Fatalf("first Pull = %v; whole: %v", err, whole)
			}
			second := newStore(t)
			if _, _, err := watched(t, src, "1", second); err != nil {
				t.Fatal(err)
			}
			part, whole, err := watched(t, src, "2", second)
			if err != nil || len(whole) != 0 {
				t.Fatalf("Pull = %v; whole: %v", err, whole)
			}
			if got, want := treeOf(t, part.Image), treeOf(t, all.Image); got != want {
				t.Errorf("tree %s, want %s", got, want)
			}
			if part.Bytes != all.Bytes || part.Files != all.Files {
				t.Errorf("%d bytes of %d files, want %d of %d", part.Bytes, part.Files, all.Bytes, all.Files)
			}
			const file = 3000 + 20*20*40 + 1
			if part.Written != file {
				t.Errorf("wrote %d bytes, want %d", part.Written, file)
			}
			t.Logf("fetched %d bytes of %d; the file that changed has %d", part.Fetched, all.Fetched, file)
			if most := int64(file + 120_000); part.Fetched > most {
				t.Errorf("fetched %d bytes, want no more than %d", part.Fetched, most)
			}
			report, err := second.Verify(t.Context(), store.VerifyOptions{})
			if err != nil || len(report.Damaged) > 0 {
				t.Errorf("Verify = %+v, %v", report, err)
			}
		})
	}
}

// update is a source of two images, of which file20 differs, and a store with the first.
func update(t *testing.T, layer maker, change func(map[string]any)) (*place, *store.Store) {
	t.Helper()
	src, s := newPlace(), newStore(t)
	src.tabledImage(t, "1", layer(t, everything(t, "", 0), nil))
	src.tabledImage(t, "2", layer(t, everything(t, "file20", 0), change))
	if _, _, err := watched(t, src, "1", s); err != nil {
		t.Fatal(err)
	}
	return src, s
}

// expect is the tree of an image, unpacked by its stream into a store that lacks it.
func expect(t *testing.T, src *place, name string) string {
	t.Helper()
	got, whole, err := watched(t, src, name, newStore(t))
	if err != nil || len(whole) == 0 {
		t.Fatalf("Pull = %v; whole: %v", err, whole)
	}
	return treeOf(t, got.Image)
}

func TestTableThatLiesIsPassedOver(t *testing.T) {
	other := string(digest.FromString("other"))
	lies := map[string]func(item map[string]any){
		"digest":             func(i map[string]any) { i["digest"] = other },
		"size":               func(i map[string]any) { i["size"] = 7000 },
		"size beyond":        func(i map[string]any) { i["size"] = 1 << 24 },
		"absurd size":        func(i map[string]any) { i["size"] = int64(1) << 49 },
		"impossible size":    func(i map[string]any) { i["size"] = -1 },
		"small size":         func(i map[string]any) { i["size"] = 100 },
		"offset":             func(i map[string]any) { i["offset"] = i["offset"].(int) + 1 },
		"offset of another":  func(i map[string]any) { i["offset"] = 5000 },
		"offset beyond":      func(i map[string]any) { i["offset"] = 1 << 40 },
		"no digest":          func(i map[string]any) { delete(i, "digest"); delete(i, "chunkDigest") },
		"end":                func(i map[string]any) { i["endOffset"] = i["offset"]; i["innerOffset"] = 1 << 30 },
		"end beyond":         func(i map[string]any) { i["endOffset"] = 1 << 40; i["innerOffset"] = -1 },
		"what it is":         func(i map[string]any) { i["type"] = "socket" },
		"name in other text": func(i map[string]any) { i["name"] = "\ufffd" },
	}
	for name, layer := range makers() {
		for what, lie := range lies {
			t.Run(name+" "+what, func(t *testing.T) {
				src, s := update(t, layer, func(i map[string]any) {
					if i["name"] == "bin/file20" && i["type"] == "reg" {
						lie(i)
					}
				})
				got, whole, err := watched(t, src, "2", s)
				if err != nil || len(whole) != 1 || !errors.Is(whole[0], toc.ErrUnusable) {
					t.Fatalf("Pull = %v; whole: %v", err, whole)
				}
				if tree, want := treeOf(t, got.Image), expect(t, src, "2"); tree != want {
					t.Errorf("tree %s, want %s", tree, want)
				}
			})
		}
	}
}

func TestTableWithAnotherDigestIsPassedOver(t *testing.T) {
	for name, layer := range makers() {
		for what, damage := range map[string]func(*tabled){
			"table": func(l *tabled) {
				at := l.out.Len() - 200
				l.out.Bytes()[at] ^= 1
			},
			"footer": func(l *tabled) { l.out.Bytes()[l.out.Len()-20] ^= 0xff },
			"annotation": func(l *tabled) {
				for k, v := range l.notes {
					if strings.HasPrefix(v, "sha256:") {
						l.notes[k] = string(digest.FromString("other"))
					}
				}
			},
			"bad annotation": func(l *tabled) {
				for k := range l.notes {
					l.notes[k] = "sha256:0"
				}
			},
		} {
			if what != "annotation" && strings.HasPrefix(name, "estargz") || what == "footer" {
				continue // the stream is no good either, or nobody reads it
			}
			t.Run(name+" "+what, func(t *testing.T) {
				src, s := newPlace(), newStore(t)
				l := layer(t, everything(t, "", 0), nil)
				damage(l)
				src.tabledImage(t, "1", l)
				_, whole, err := watched(t, src, "1", s)
				if err != nil || len(whole) != 1 || !errors.Is(whole[0], toc.ErrUnusable) {
					t.Errorf("Pull = %v; whole: %v", err, whole)
				}
			})
		}
	}
}

func TestDuplicateEntriesAreRefused(t *testing.T) {
	for name, layer := range makers() {
		src, s := update(t, layer, nil)
		src.tabledImage(t, "3", layer(t, everything(t, "", 0), func(i map[string]any) {
			if i["name"] == "small3" {
				i["name"] = "small2"
			}
		}))
		if _, _, err := watched(t, src, "3", s); !errors.Is(err, tree.ErrConflict) {
			t.Errorf("%s: Pull = %v", name, err)
		}
	}
}

// A torn source breaks each stream after some bytes, and all of them after more.
type torn struct {
	*place
	each, all int
}

var errTorn = errors.New("torn")

func (s *torn) Open(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	r, err := s.place.Open(ctx, d, offset)
	if s.all <= 0 {
		return nil, errTorn
	}
	left := s.each
	return io.NopCloser(reading(func(p []byte) (int, error) {
		if left <= 0 || s.all <= 0 {
			return 0, errTorn
		}
		n, err := r.Read(p[:min(len(p), left, s.all)])
		left -= n
		s.all -= n
		return n, err
	})), err
}

type reading func([]byte) (int, error)

func (f reading) Read(p []byte) (int, error) { return f(p) }

func TestPartsGoOnWhereTheyBroke(t *testing.T) {
	for name, layer := range makers() {
		src, s := update(t, layer, nil)
		got, whole, err := watched(t, &torn{src, 700, 1 << 30}, "2", s)
		if err != nil || len(whole) > 0 {
			t.Fatalf("%s: Pull = %v; whole: %v", name, err, whole)
		}
		_, s = update(t, layer, nil)
		smooth, _, err := watched(t, src, "2", s)
		const ahead = 4096 // of what is read at the end of a file, it depends on the pieces that come
		if err != nil || got.Fetched > smooth.Fetched+ahead || treeOf(t, got.Image) != treeOf(t, smooth.Image) {
			t.Errorf("%s: fetched %d bytes, and without a break %d, %v", name, got.Fetched, smooth.Fetched, err)
		}
	}
}

// TestKilledPullOfPartsGoesOn gives up a pull at any byte; the next fetches no file that came whole.
func TestKilledPullOfPartsGoesOn(t *testing.T) {
	for name, layer := range makers() {
		src, smooth := newPlace(), newStore(t)
		text := func(n int) string { return noise(fmt.Sprint("text", n), 50_000) }
		var first, second [][2]string
		for n := range 30 {
			f := [2]string{fmt.Sprint("file", n), text(n)}
			if n%3 != 0 {
				first = append(first, f)
			}
			second = append(second, f)
		}
		src.tabledImage(t, "1", layer(t, tarOf(t, first...), nil))
		src.tabledImage(t, "2", layer(t, tarOf(t, second...), nil))
		if _, _, err := watched(t, src, "1", smooth); err != nil {
			t.Fatal(err)
		}
		once, _, err := watched(t, src, "2", smooth)
		if err != nil {
			t.Fatal(err)
		}
		for _, cut := range []int{20_000, 100_000, 300_000} {
			s := newStore(t)
			if _, _, err := watched(t, src, "1", s); err != nil {
				t.Fatal(err)
			}
			half, _, err := watched(t, &torn{src, 1 << 30, cut}, "2", s)
			if !errors.Is(err, errTorn) {
				t.Fatalf("%s: Pull = %v", name, err)
			}
			rest, whole, err := watched(t, src, "2", s)
			if err != nil || len(whole) > 0 || treeOf(t, rest.Image) != treeOf(t, once.Image) {
				t.Fatalf("%s: Pull = %v; whole: %v", name, err, whole)
			}
			// The table comes again, and so does what was being read: a file, or a member of several.
			if sum, most := half.Fetched+rest.Fetched, once.Fetched+120_000; sum > most {
				t.Errorf("%s: cut at %d: fetched %d + %d bytes, and at once %d", name, cut, half.Fetched, rest.Fetched, once.Fetched)
			}
		}
	}
}

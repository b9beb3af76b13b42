package store

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tare.dev/tare/internal/object"
)

// files is n small ones, from first on.
func files(first, n int) map[string]string {
	all := map[string]string{}
	for i := first; i < first+n; i++ {
		all[fmt.Sprintf("etc/%04d", i)] = strings.Repeat(fmt.Sprintf("file %d\n", i), 1+i%1000)
	}
	return all
}

func join(maps ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range maps {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

func packFiles(t *testing.T, s *Store) []string {
	t.Helper()
	all, err := filepath.Glob(s.path("packs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// readBack compares all files of an image.
func readBack(t *testing.T, s *Store, i *Image, want map[string]string) {
	t.Helper()
	c, err := s.Contents(i)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seen := 0
	err = i.Objects(func(path string, d object.Digest, size int64) error {
		seen++
		r, n, err := c.Open(d)
		if err != nil {
			return err
		}
		defer r.Close()
		got, err := io.ReadAll(r)
		if err == nil && (string(got) != want[path] || n != size) {
			err = fmt.Errorf("%s has %d bytes of %d", path, len(got), size)
		}
		return err
	})
	if err != nil || seen != len(want) {
		t.Errorf("%d files of %d: %v", seen, len(want), err)
	}
}

func clean(t *testing.T, s *Store) {
	t.Helper()
	if r, err := s.Verify(t.Context(), VerifyOptions{}); err != nil || len(r.Damaged) != 0 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

func TestSmallFilesAreWrittenOnceForAllImages(t *testing.T) {
	s := open1(t)
	first, second := files(0, 300), join(files(100, 250), map[string]string{"big": big("b")})
	a := add(t, s, first, "a")
	b := add(t, s, second, "b")
	if n := len(packFiles(t, s)); n != 2 || objects(t, s) != 1 {
		t.Fatalf("%d packs, %d objects; want 2 and 1", n, objects(t, s))
	}
	if p, err := b.SmallPacks(); err != nil || len(p) != 2 {
		t.Errorf("the second is over %v, %v", p, err)
	}
	// The second pull's pack has only what was new.
	have, err := s.inPacks(must(b.SmallPacks())[1:])
	if err != nil || len(have) != 50 {
		t.Errorf("%d new files, %v; want 50", len(have), err)
	}
	readBack(t, s, a, first)
	readBack(t, s, b, second)
	clean(t, s)
	u, err := s.Usage()
	if err != nil || u.Garbage != 0 || u.Packs != 0 {
		t.Errorf("usage: %+v, %v", u, err)
	}
	same := add(t, s, join(second, map[string]string{"empty-less": first["etc/0001"]}), "c")
	if n := len(packFiles(t, s)); n != 2 {
		t.Errorf("%d packs after an image with nothing new", n)
	}
	if err := s.Remove(a); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GC(); err != nil {
		t.Fatal(err)
	}
	readBack(t, s, b, second)
	clean(t, s)
	for _, i := range []*Image{b, same} {
		if err := s.Remove(i); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.GC(); err != nil || len(packFiles(t, s)) != 0 {
		t.Errorf("packs without an image: %v, %v", packFiles(t, s), err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestAnImageIsOverFewPacks(t *testing.T) {
	s := open1(t)
	all := map[string]string{}
	for n := range 25 {
		all = join(all, files(n*10, 10))
		i := add(t, s, all, fmt.Sprint("v", n))
		if p := must(i.SmallPacks()); len(p) > maxOwnPacks+1 {
			t.Fatalf("version %d is over %d packs", n, len(p))
		}
		readBack(t, s, i, all)
	}
	clean(t, s)
}

func TestMostlyDeadPacksAreMadeAnew(t *testing.T) {
	s := open1(t)
	large := map[string]string{}
	for n := range 200 {
		large[fmt.Sprint("doc/", n)] = strings.Repeat(fmt.Sprintf("%05d|", n), 2000)
	}
	a := add(t, s, join(large, files(0, 20)), "a")
	b := add(t, s, files(0, 10), "b")
	before := must(b.SmallPacks())
	if err := s.Remove(a); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first makes the new one, the second removes the old one
		if _, err := s.GC(); err != nil {
			t.Fatal(err)
		}
	}
	after := must(b.SmallPacks())
	if slices.Equal(before, after) || len(after) != 1 || len(packFiles(t, s)) != 1 {
		t.Errorf("packs %v, then %v; files %v", before, after, packFiles(t, s))
	}
	if st, err := os.Stat(packFiles(t, s)[0]); err != nil || st.Size() > 100<<10 {
		t.Errorf("the pack: %v, %v", st.Size(), err)
	}
	readBack(t, s, b, files(0, 10))
	clean(t, s)
}

func TestDamagedPackIsRepaired(t *testing.T) {
	want := files(0, 100)
	lost := want["etc/0042"]
	for name, c := range map[string]struct {
		damage func(path string) error
		bad    int // files, beside the pack
	}{
		"a file": {func(path string) error {
			text := must(os.ReadFile(path))
			return os.WriteFile(path, bytes.Replace(text, []byte("file 42\n"), []byte("FILE 42\n"), 1), 0o644)
		}, 1},
		"nothing that is used": {func(path string) error {
			text := must(os.ReadFile(path))
			text[100] = 'x' // before the superblock
			return os.WriteFile(path, text, 0o644)
		}, 0},
		"superblock": {func(path string) error {
			text := must(os.ReadFile(path))
			clear(text[:4096])
			return os.WriteFile(path, text, 0o644)
		}, 100},
		"cut":  {func(path string) error { return os.Truncate(path, 5000) }, 100},
		"gone": {os.Remove, 100},
	} {
		t.Run(name, func(t *testing.T) {
			s := open1(t)
			i := add(t, s, want, "a")
			if err := c.damage(packFiles(t, s)[0]); err != nil {
				t.Fatal(err)
			}
			r, err := s.Verify(t.Context(), VerifyOptions{})
			if err != nil || len(r.Damaged) != c.bad+1 {
				t.Fatalf("%d damaged, %v; want %d: %+v", len(r.Damaged), err, c.bad+1, r.Damaged)
			}
			// Another image is not kept from being made, and takes nothing bad.
			b := add(t, s, map[string]string{"x": lost}, "b")
			fix, err := s.Repair(r.Damaged)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range want {
				if err := fix.Take(strings.NewReader(text), int64(len(text))); err != nil {
					t.Fatal(err)
				}
			}
			if err := fix.Close(); err != nil || fix.Fixed() != c.bad+1 {
				t.Fatalf("fixed %d, %v", fix.Fixed(), err)
			}
			for range 2 {
				readBack(t, s, i, want)
				readBack(t, s, b, map[string]string{"x": lost})
				clean(t, s)
				if _, err := s.GC(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestDamagedListOfPacks: it has no digest, and must be noticed all the same.
func TestDamagedListOfPacks(t *testing.T) {
	for _, text := range []string{"", "not hex\n", strings.Repeat("a", 64), strings.Repeat("a", 64) + "\n"} {
		s := open1(t)
		i := add(t, s, files(0, 3), "a")
		if err := os.Remove(filepath.Join(i.dir, packsFile)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(i.dir, packsFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Verify(t.Context(), VerifyOptions{}); err != nil || len(r.Damaged) == 0 {
			t.Errorf("list %q: %+v, %v", text, r, err)
		}
	}
}

func TestRecordedSmallFilesServeAnotherStage(t *testing.T) {
	s := open1(t)
	first, _, _, _ := stage(t, s, files(0, 10))
	defer first.Close()
	p, err := first.PlaceSmall()
	if err != nil || len(p) != 1 {
		t.Fatal(p, err)
	}
	second, d, manifest, config := stage(t, s, nil)
	defer second.Close()
	second.UseSmall(p)
	for _, text := range files(0, 10) {
		if there, err := second.Take(sum(text), int64(len(text))); err != nil || !there {
			t.Fatal(there, err)
		}
	}
	i, err := second.Commit(d, manifest, config)
	if err != nil {
		t.Fatal(err)
	}
	if own := must(i.SmallPacks()); !slices.Equal(own, p) {
		t.Errorf("over %v, want %v", own, p)
	}
}

// TestAnOlderStoreIsTakenOver: an older Tare must then leave it alone, because it would remove packs.
func TestAnOlderStoreIsTakenOver(t *testing.T) {
	s := open1(t)
	name := s.path("version")
	for text, good := range map[string]bool{firstFormat: true, format: true, "3\n": false} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		again, err := Open(s.Dir(), Options{Reserve: -1})
		if (err == nil) != good {
			t.Errorf("format %q: %v", text, err)
		}
		if err != nil {
			continue
		}
		again.Close()
		if have := must(os.ReadFile(name)); string(have) != format {
			t.Errorf("format %q became %q", text, have)
		}
	}
}

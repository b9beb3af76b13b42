package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/tree"
)

func open1(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"), Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// image stages files, and commits unless told otherwise.
func stage(t *testing.T, s *Store, files map[string]string) (*Stage, digest.Digest, []byte, []byte) {
	t.Helper()
	st, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	b := tree.NewBuilder(st.Tree(), tree.Limits{})
	names := []string{}
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		data := files[name]
		got, err := st.Put(strings.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		in := erofs.Inode{Mode: unix.S_IFREG | 0o644, Size: int64(len(data)), Redirect: got.Digest.Redirect()}
		if err := b.Add(name, in); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Finish(); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(v1.Image{Author: fmt.Sprint(files)})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal(v1.Manifest{Config: v1.Descriptor{Digest: digest.FromBytes(config)}})
	if err != nil {
		t.Fatal(err)
	}
	return st, digest.FromBytes(manifest), manifest, config
}

func add(t *testing.T, s *Store, files map[string]string, names ...string) *Image {
	t.Helper()
	st, d, manifest, config := stage(t, s, files)
	defer st.Close()
	i, err := st.Commit(d, manifest, config, names...)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func big(c string) string { return strings.Repeat(c, 20_000) }

func objects(t *testing.T, s *Store) (n int) {
	t.Helper()
	if err := s.objects.All(func(object.Digest, int64) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestImageIsThereOnceCommitted(t *testing.T) {
	s := open1(t)
	st, d, manifest, config := stage(t, s, map[string]string{"a": big("a")})
	if _, err := s.Image(d); !errors.Is(err, ErrNotFound) {
		t.Errorf("before the commit: %v", err)
	}
	if _, err := st.Commit(d, manifest, config, "docker.io/library/a:latest"); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"docker.io/library/a:latest", d.String(), d.Encoded()[:12], "sha256:" + d.Encoded()[:5]} {
		if i, err := s.Find(name); err != nil || i.Digest != d {
			t.Errorf("Find(%q) = %v, %v", name, i, err)
		}
	}
	for _, name := range []string{"", "abc", d.Encoded()[:3], "docker.io/library/b:latest", "../images/" + d.Encoded(), strings.Repeat("f", 64)} {
		if i, err := s.Find(name); !errors.Is(err, ErrNotFound) {
			t.Errorf("Find(%q) = %v, %v", name, i, err)
		}
	}
}

func TestClosedStageLeavesNothing(t *testing.T) {
	s := open1(t)
	st, d, _, _ := stage(t, s, map[string]string{"a": big("a")})
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.path("tmp")); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
	if _, err := s.Image(d); !errors.Is(err, ErrNotFound) {
		t.Errorf("Image = %v", err)
	}
	if _, err := s.GC(); err != nil {
		t.Fatal(err)
	}
	if n := objects(t, s); n != 0 {
		t.Errorf("%d objects after gc", n)
	}
}

func TestNamesMove(t *testing.T) {
	s := open1(t)
	const name = "registry.example:5000/team/app:v%1"
	old := add(t, s, map[string]string{"a": big("a")}, name)
	renewed := add(t, s, map[string]string{"b": big("b")}, name)
	if i, err := s.Find(name); err != nil || i.Digest != renewed.Digest || !slices.Equal(i.Names, []string{name}) {
		t.Errorf("Find = %+v, %v", i, err)
	}
	if i, err := s.Image(old.Digest); err != nil || len(i.Names) != 0 {
		t.Errorf("the old image: %+v, %v", i, err)
	}
	if err := s.Untag(name); err != nil {
		t.Fatal(err)
	}
	if err := s.Untag(name); !errors.Is(err, ErrNotFound) {
		t.Errorf("a second Untag = %v", err)
	}
	if err := s.Tag(renewed, strings.Repeat("n", 300)); err == nil {
		t.Error("a name of 300 bytes is accepted")
	}
}

func TestGCKeepsWhatImagesHave(t *testing.T) {
	s := open1(t)
	a := add(t, s, map[string]string{"own": big("a"), "common": big("c")}, "a")
	add(t, s, map[string]string{"own": big("b"), "common": big("c")}, "b")
	if n := objects(t, s); n != 3 {
		t.Fatalf("%d objects", n)
	}
	if err := s.Remove(a); err != nil {
		t.Fatal(err)
	}
	freed, err := s.GC()
	if err != nil || freed.Objects != 1 || freed.Bytes != 20_000 {
		t.Errorf("GC = %+v, %v", freed, err)
	}
	r, err := s.Verify(t.Context(), VerifyOptions{})
	if err != nil || len(r.Damaged) != 0 || r.Objects != 2 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

func TestUsedImageStays(t *testing.T) {
	s := open1(t)
	i := add(t, s, map[string]string{"a": big("a")}, "a")
	use, err := i.Use()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(i); !errors.Is(err, ErrInUse) {
		t.Errorf("Remove = %v", err)
	}
	if i, err = s.Image(i.Digest); err != nil || len(i.Names) != 1 {
		t.Errorf("the image after a Remove that failed: %+v, %v", i, err)
	}
	use.Close()
	if err := s.Remove(i); err != nil {
		t.Error(err)
	}
}

func TestGCRefusesToGuess(t *testing.T) {
	s := open1(t)
	i := add(t, s, map[string]string{"a": big("a")}, "a")
	path, err := i.TreePath()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("not a tree"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GC(); err == nil {
		t.Error("gc with a tree it cannot read went on")
	}
	if n := objects(t, s); n != 1 {
		t.Errorf("%d objects", n)
	}
}

func TestDamagedImageIsRepairedAndKeepsNoOtherOut(t *testing.T) {
	files := map[string]string{"f": big("a")}
	for _, name := range []string{"tree", manifestFile, configFile} {
		t.Run(name, func(t *testing.T) {
			s := open1(t)
			i := add(t, s, files, "a")
			use, err := i.Use()
			if err != nil {
				t.Fatal(err)
			}
			defer use.Close()
			path := filepath.Join(i.dir, name)
			if name == "tree" {
				path, err = i.TreePath()
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
			add(t, s, map[string]string{"f": big("b")}, "b")
			st, d, manifest, config := stage(t, s, files)
			defer st.Close()
			if _, err := st.Replace(d, manifest, config); err != nil {
				t.Fatal(err)
			}
			if r, err := s.Verify(context.Background(), VerifyOptions{}); err != nil || len(r.Damaged) > 0 {
				t.Errorf("Verify after Replace = %v, %v", r, err)
			}
			if err := s.Remove(i); !errors.Is(err, ErrInUse) {
				t.Errorf("Remove of a replaced image in use = %v, want %v", err, ErrInUse)
			}
		})
	}
}

func TestCommitMendsADamagedImage(t *testing.T) {
	s := open1(t)
	files := map[string]string{"f": big("a")}
	i := add(t, s, files, "a")
	if err := os.Remove(filepath.Join(i.dir, configFile)); err != nil {
		t.Fatal(err)
	}
	add(t, s, files, "a")
	if r, err := s.Verify(t.Context(), VerifyOptions{}); err != nil || len(r.Damaged) > 0 {
		t.Errorf("Verify after a commit over damage = %v, %v", r, err)
	}
}

func TestUseWaitsForNoGrave(t *testing.T) {
	s := open1(t)
	files := map[string]string{"f": big("a")}
	i := add(t, s, files, "a")
	alone, ok, err := i.Alone()
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := os.Rename(i.dir, s.path("tmp", "removed-x")); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Use(); !errors.Is(err, ErrNotFound) {
		t.Errorf("Use of a removed image = %v, want %v", err, ErrNotFound)
	}
	alone.Close()
	add(t, s, files, "a")
	use, err := i.Use()
	if err != nil {
		t.Fatal(err)
	}
	defer use.Close()
	if err := s.Remove(i); !errors.Is(err, ErrInUse) {
		t.Errorf("Remove of an image in use = %v, want %v", err, ErrInUse)
	}
}

func TestSweepTakesWhatNobodyMakes(t *testing.T) {
	s := open1(t)
	alive, _, _, _ := stage(t, s, map[string]string{"a": big("a")})
	defer alive.Close()
	dead := s.path("tmp", "image-dead")
	if err := os.MkdirAll(filepath.Join(dead, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	other, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("what a killed process left: %v", err)
	}
	if _, err := os.Stat(alive.dir); err != nil {
		t.Errorf("what another process makes: %v", err)
	}
}

func TestVerifyNamesWhatIsDamaged(t *testing.T) {
	s := open1(t)
	add(t, s, map[string]string{"usr/lib/x": big("x"), "y": big("y")}, "a")
	add(t, s, map[string]string{"opt/x": big("x")}, "b")
	bad := object.Digest(sum(big("x")))
	path := filepath.Join(s.objects.Path(), bad.Path())
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	data := []byte(big("x"))
	data[4321] = 'X'
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := s.Verify(t.Context(), VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Damaged) != 1 || r.Damaged[0].Object != bad || len(r.Damaged[0].Uses) != 2 {
		t.Fatalf("damaged: %+v", r.Damaged)
	}
	fix, err := s.Repair(r.Damaged)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{big("y"), big("z"), "short", big("x")} {
		if err := fix.Take(strings.NewReader(text), int64(len(text))); err != nil {
			t.Fatal(err)
		}
	}
	if fix.Left() != 0 || fix.Fixed() != 1 {
		t.Errorf("left %d, fixed %d", fix.Left(), fix.Fixed())
	}
	if err := fix.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err = s.Verify(t.Context(), VerifyOptions{}); err != nil || len(r.Damaged) != 0 {
		t.Errorf("after the repair: %+v, %v", r, err)
	}
}

func TestVerifySeesEachFileOfAnImage(t *testing.T) {
	for _, name := range []string{manifestFile, configFile, treePrefix} {
		s := open1(t)
		i := add(t, s, map[string]string{"a": big("a")}, "a")
		files, err := filepath.Glob(filepath.Join(i.dir, name+"*"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		data = append(data[:len(data)-1:len(data)-1], data[len(data)-1]^1)
		os.Remove(files[0])
		if err := os.WriteFile(files[0], data, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := s.Verify(t.Context(), VerifyOptions{})
		if err != nil || len(r.Damaged) != 1 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestVerifyWithABudgetComesToAll(t *testing.T) {
	s := open1(t)
	files := map[string]string{}
	for n := range 20 {
		files[fmt.Sprint(n)] = big(string(rune('a' + n)))
	}
	add(t, s, files, "a")
	total := 0
	var from *object.Digest
	for range 10 {
		r, err := s.Verify(t.Context(), VerifyOptions{Budget: 40_000, From: from})
		if err != nil || r.Bytes > 40_000 {
			t.Fatal(r, err)
		}
		total += r.Objects
		from = &r.Next
	}
	if total != 20 {
		t.Errorf("%d objects in 10 steps of 2", total)
	}
}

func TestUsageAddsUp(t *testing.T) {
	s := open1(t)
	add(t, s, map[string]string{"own": big("a"), "common": big("c"), "again": big("c")}, "a")
	add(t, s, map[string]string{"own": big("b"), "common": big("c")}, "b")
	u, err := s.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if u.Logical != 100_000 || u.Unique != 60_000 || u.Shared[0][1] != 20_000 || u.Shared[1][0] != 20_000 {
		t.Errorf("usage: %+v", u)
	}
	if a := u.Images[0]; a.Own != 20_000 || a.Shared != 20_000 || a.Logical != 60_000 {
		t.Errorf("a: %+v", a)
	}
}

func TestAdoptSharesInodes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: only its files are adopted")
	}
	dir := t.TempDir()
	s, err := Open(filepath.Join(dir, "var/lib/tare/store"), Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	add(t, s, map[string]string{"lib/x": big("x")}, "a")
	for name, text := range map[string]string{
		"usr/lib/x": big("x"), "usr/lib/own": big("o"), "usr/small": "small", "etc/passwd": big("changes"),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "usr/lib/x"), filepath.Join(dir, "usr/lib/x.1")); err != nil {
		t.Fatal(err)
	}
	a, err := s.Adopt(context.Background(), dir, AdoptOptions{Name: "base", Skip: DefaultSkip(), Inline: 2048})
	if err != nil {
		t.Fatal(err)
	}
	if a.Files != 3 || a.Saved != 20_000 {
		t.Errorf("adopted: %+v", a)
	}
	same := func(name, text string) bool {
		var x, y unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, name), &x); err != nil {
			t.Fatal(err)
		}
		if err := unix.Stat(filepath.Join(s.objects.Path(), object.Digest(sum(text)).Path()), &y); err != nil {
			return false
		}
		return x.Ino == y.Ino
	}
	if !same("usr/lib/x", big("x")) || !same("usr/lib/own", big("o")) {
		t.Error("the objects are other files than the base system's")
	}
	if same("etc/passwd", big("changes")) {
		t.Error("a file that may change is an object")
	}
	u, err := s.Usage()
	if err != nil || u.Shared[0][1] != 20_000 {
		t.Errorf("usage: %+v, %v", u, err)
	}
	if r, err := s.Verify(t.Context(), VerifyOptions{}); err != nil || len(r.Damaged) != 0 {
		t.Errorf("verify: %+v, %v", r, err)
	}
	if a, err = s.Adopt(t.Context(), dir, AdoptOptions{Name: "base", Skip: DefaultSkip(), Inline: 2048}); err != nil || a.Saved != 0 {
		t.Errorf("adopted again: %+v, %v, want nothing saved", a, err)
	}
}

func TestAdoptLeavesWhatOthersMayChange(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(filepath.Join(dir, "var/store"), Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	add(t, s, map[string]string{"x": big("x")}, "a")
	for name, mode := range map[string]os.FileMode{"owned": 0o755, "group": 0o775, "all": 0o646, "good": 0o755} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(big("x")), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(dir, "owned"), 1000, 0); err != nil {
		t.Skip("needs root:", err)
	}
	a, err := s.Adopt(t.Context(), dir, AdoptOptions{Name: "base", Skip: DefaultSkip()})
	if err != nil || a.Files != 1 || a.Left != 3 {
		t.Fatalf("adopted: %+v, %v, want one file, and three left out", a, err)
	}
	info, err := os.Stat(filepath.Join(s.objects.Path(), sum(big("x")).Path()))
	if err != nil || info.Mode().Perm() != 0o755 || stat(info).Uid != 0 {
		t.Errorf("the object is a file of mode %v, %v", info.Mode(), err)
	}
}

// Several commit, remove and collect at once, each on a Store of its own, as processes do.
func TestManyAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	var wg sync.WaitGroup
	for n := range 6 {
		wg.Go(func() {
			s, err := Open(dir, Options{Reserve: -1})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			for range 10 {
				files := map[string]string{"common": big("c"), "own": big(fmt.Sprint(n))}
				i := add(t, s, files, fmt.Sprint("image", n%3))
				if err := s.Remove(i); err != nil {
					t.Error(err)
				}
				if _, err := s.GC(); err != nil {
					t.Error(err)
				}
			}
			add(t, s, map[string]string{"common": big("c"), "own": big(fmt.Sprint(n))}, fmt.Sprint("last", n))
		})
	}
	wg.Wait()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := s.Verify(t.Context(), VerifyOptions{})
	if err != nil || len(r.Damaged) != 0 || r.Objects < 2 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

func TestStoreOfALaterFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "version"), []byte("99\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("err = %v", err)
	}
}

func sum(s string) object.Digest {
	d, err := object.Sum(bytes.NewReader([]byte(s)))
	if err != nil {
		panic(err)
	}
	return d
}

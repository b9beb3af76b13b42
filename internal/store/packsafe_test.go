package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"

	"tare.dev/tare/internal/object"
)

// apart makes n images that have no file in common.
func apart(t *testing.T, s *Store, n int) {
	t.Helper()
	for i := range n {
		add(t, s, files(100*i, 10), fmt.Sprint("apart", i))
	}
}

// TestFewPacksInSpiteOfCheckpoints: packs that were ended early do not open the way for any number of others.
func TestFewPacksInSpiteOfCheckpoints(t *testing.T) {
	s := open1(t)
	apart(t, s, 14)
	st, d, manifest, config := stage(t, s, nil)
	defer st.Close()
	put := func(all map[string]string) {
		t.Helper()
		for _, text := range all {
			if _, err := st.Put(strings.NewReader(text), int64(len(text))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := range maxOwnPacks {
		put(files(100*n, 10))
	}
	for n := range 14 {
		put(files(5000+100*n, 10))
		put(files(100*n, 10))
		if _, _, err := st.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	i, err := st.Commit(d, manifest, config)
	if err != nil {
		t.Fatal(err)
	}
	if own := must(i.SmallPacks()); len(own) > maxOwnPacks+maxCheckpoints+1 {
		t.Errorf("an image over %d packs", len(own))
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	return must(os.Stat(path)).Sys().(*syscall.Stat_t).Ino
}

// TestPackOfAnImageIsNotReplaced: the bytes of the second do not last before its barrier, and a cut would cost the
// image of the first its files.
func TestPackOfAnImageIsNotReplaced(t *testing.T) {
	s := open1(t)
	want := files(0, 20)
	first, d, manifest, config := stage(t, s, want)
	defer first.Close()
	second, _, _, _ := stage(t, s, want)
	defer second.Close()
	i, err := first.Commit(d, manifest, config)
	if err != nil {
		t.Fatal(err)
	}
	was := inode(t, packFiles(t, s)[0])
	if _, err := second.Commit(d, manifest, config); err != nil {
		t.Fatal(err)
	}
	all := packFiles(t, s)
	if len(all) != 1 || inode(t, all[0]) != was {
		t.Errorf("packs %v: the pack of a committed image was replaced", all)
	}
	readBack(t, s, i, want)
}

// mostlyDead is a store with an image whose pack has a megabyte that nobody needs.
func mostlyDead(t *testing.T, s *Store) *Image {
	t.Helper()
	large := map[string]string{}
	for n := range 200 {
		large[fmt.Sprint("doc/", n)] = strings.Repeat(fmt.Sprintf("%05d|", n), 2000)
	}
	a := add(t, s, join(large, files(0, 20)), "a")
	b := add(t, s, files(0, 10), "b")
	if err := s.Remove(a); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGCWorksWithoutRoomForANewPack(t *testing.T) {
	s := open1(t)
	b := mostlyDead(t, s)
	before := must(b.SmallPacks())
	add(t, s, map[string]string{"large": big("x")}, "c")
	if err := s.Remove(must(s.Find("c"))); err != nil {
		t.Fatal(err)
	}
	s.reserve = 1 << 60
	if f, err := s.GC(); err != nil || f.Objects != 1 {
		t.Errorf("GC on a full disk = %+v, %v", f, err)
	}
	if after := must(b.SmallPacks()); !slices.Equal(before, after) {
		t.Errorf("over %v, then %v", before, after)
	}
	readBack(t, s, b, files(0, 10))
}

func TestRepairTakesOfTheReserve(t *testing.T) {
	s := open1(t)
	want := files(0, 20)
	i := add(t, s, want, "a")
	spoil(t, packFiles(t, s)[0], "file 12\n", "FILE 12\n")
	r, err := s.Verify(t.Context(), VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.reserve = 1 << 60
	fix, err := s.Repair(r.Damaged)
	if err != nil {
		t.Fatal(err)
	}
	text := want["etc/0012"]
	if err := fix.Take(strings.NewReader(text), int64(len(text))); err != nil {
		t.Fatal(err)
	}
	if err := fix.Close(); err != nil {
		t.Fatal(err)
	}
	readBack(t, s, i, want)
	clean(t, s)
}

// spoil changes bytes of a file in place.
func spoil(t *testing.T, path, from, to string) {
	t.Helper()
	text := must(os.ReadFile(path))
	if err := os.WriteFile(path, bytes.Replace(text, []byte(from), []byte(to), 1), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestGCLeavesNoFileBehind: what gc cannot read of a pack may be read the next time, or be repaired.
func TestGCLeavesNoFileBehind(t *testing.T) {
	for name, harm := range map[string]func(path string){
		"a file": func(path string) { spoil(t, path, "file 3\n", "FILE 3\n") },
		"gone":   func(path string) { _ = os.Remove(path) },
	} {
		s := open1(t)
		b := mostlyDead(t, s)
		before := must(b.SmallPacks())
		harm(s.PackPath(before[0]))
		for range 2 {
			if _, err := s.GC(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if after := must(b.SmallPacks()); !slices.Equal(before, after) {
			t.Errorf("%s: over %v, then %v", name, before, after)
		}
	}
}

// TestManyUpdatesWriteWhatIsNew: with one image and the one before it, as a device has them.
func TestManyUpdatesWriteWhatIsNew(t *testing.T) {
	s := open1(t)
	all := map[string]string{}
	var before *Image
	for n := range 20 {
		fresh := files(100*n, 10)
		all = join(all, fresh)
		st, d, manifest, config := stage(t, s, all)
		if got := st.small.w.Len(); got != len(fresh) {
			t.Errorf("update %d wrote %d files; %d are new", n, got, len(fresh))
		}
		i, err := st.Commit(d, manifest, config)
		if err != nil {
			t.Fatal(err)
		}
		st.Close()
		if before != nil {
			if err := s.Remove(before); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.GC(); err != nil {
			t.Fatal(err)
		}
		readBack(t, s, i, all)
		before = i
	}
	clean(t, s)
	if n := len(packFiles(t, s)); n > 2*manyPacks {
		t.Errorf("%d packs", n)
	}
}

// TestStrayFileDoesNotHideAPacked: overlayfs would show what a killed command left before what is in the pack.
func TestStrayFileDoesNotHideAPacked(t *testing.T) {
	s := open1(t)
	want := files(0, 20)
	add(t, s, files(0, 10), "first")
	for _, name := range []string{"etc/0005", "etc/0015"} { // one is there, one is new
		path := filepath.Join(s.objects.Path(), sum(want[name]).Path())
		if err := os.WriteFile(path, make([]byte, len(want[name])), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	readBack(t, s, add(t, s, want, "second"), want)
}

// TestGCKeepsWhatARunningContainerMayRead: it is over those packs that the image had when it started.
func TestGCKeepsWhatARunningContainerMayRead(t *testing.T) {
	s := open1(t)
	want := files(0, 3)
	text := want["etc/0001"]
	if _, err := s.objects.NewWriter(known(nil), 0).Put(strings.NewReader(text), int64(len(text))); err != nil {
		t.Fatal(err)
	}
	i := add(t, s, want, "a")
	containers := t.TempDir()
	s.holders = []string{containers}
	if err := os.Mkdir(filepath.Join(containers, "c"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(containers, "c", HolderImage), []byte(i.Digest), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GC(); err != nil || objects(t, s) != 1 {
		t.Errorf("%d objects, %v", objects(t, s), err)
	}
	clean(t, s)
	if err := os.RemoveAll(filepath.Join(containers, "c")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GC(); err != nil || objects(t, s) != 0 {
		t.Errorf("%d objects without a container, %v", objects(t, s), err)
	}
	readBack(t, s, i, want)
}

// TestCommitWaitsForPacksThatAreMadeAnew: else the list of one would take the place of the other's.
func TestCommitWaitsForPacksThatAreMadeAnew(t *testing.T) {
	s := open1(t)
	st, d, manifest, config := stage(t, s, files(0, 3))
	defer st.Close()
	done := make(chan error, 1)
	err := s.placing(func() error {
		go func() {
			_, err := st.Commit(d, manifest, config)
			done <- err
		}()
		select {
		case err := <-done:
			t.Errorf("Commit = %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestUsageCountsPacksOfNoImage(t *testing.T) {
	s := open1(t)
	st, _, _, _ := stage(t, s, files(0, 5))
	defer st.Close()
	add(t, s, files(0, 9), "a")
	p, err := st.PlaceSmall()
	if err != nil {
		t.Fatal(err)
	}
	u, err := s.Usage()
	if want := must(os.Stat(s.PackPath(p[0]))).Size(); err != nil || u.Garbage != want {
		t.Errorf("%d bytes of garbage, %v; want %d", u.Garbage, err, want)
	}
}

// TestKeptPacksMayBeTooMany: a layer that was kept is fetched again rather than refused each time.
func TestKeptPacksMayBeTooMany(t *testing.T) {
	s := open1(t)
	apart(t, s, maxOwnPacks+maxCheckpoints+1)
	st, _, _, _ := stage(t, s, nil)
	defer st.Close()
	var all []digest.Digest
	for _, path := range packFiles(t, s) {
		all = append(all, digest.NewDigestFromEncoded(digest.SHA256, strings.TrimSuffix(filepath.Base(path), packSuffix)))
	}
	if err := st.TryPacks(all); err == nil {
		t.Error("any number of packs is taken")
	}
	if err := st.TryPacks(all[:maxOwnPacks]); err != nil {
		t.Error(err)
	}
	// A file in a pack too many is not whole for this image.
	var there, missing int
	for n := range maxOwnPacks + maxCheckpoints + 1 {
		text := files(100*n, 1)[fmt.Sprintf("etc/%04d", 100*n)]
		ok, err := st.Whole(object.Digest(sum(text)), int64(len(text)))
		if err != nil {
			t.Fatal(err)
		}
		if took, err := st.Take(sum(text), int64(len(text))); err != nil || took != ok {
			t.Errorf("Take = %v, %v; Whole = %v", took, err, ok)
		}
		if ok {
			there++
		} else {
			missing++
		}
	}
	if there != maxOwnPacks || missing == 0 {
		t.Errorf("%d of them are whole", there)
	}
}

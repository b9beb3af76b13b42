package object

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// set is what a test trusts.
type set map[Digest]int64

func (s set) Trusted(d Digest) bool { _, ok := s[d]; return ok }

func (s set) OfSize(size int64) (all []Digest) {
	for d, n := range s {
		if n == size {
			all = append(all, d)
		}
	}
	return all
}

func open(t *testing.T) *Dir {
	t.Helper()
	d, err := Open(filepath.Join(t.TempDir(), "objects"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func random(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func put(t *testing.T, w *Writer, data []byte) Result {
	t.Helper()
	got, err := w.Put(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if want := Digest(sha256.Sum256(data)); got.Digest != want {
		t.Fatalf("Put of %d bytes = %s, want %s", len(data), got.Digest, want)
	}
	return got
}

func read(t *testing.T, d *Dir, digest Digest) []byte {
	t.Helper()
	f, err := d.Open(digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sizes are around what Put treats differently.
func sizes() []int {
	return []int{1, 4096, 70_000, keep - 1, keep, keep + 1, 3*keep + 17, flushEvery + 5}
}

func TestPutKeepsBytes(t *testing.T) {
	for _, nameless := range []bool{true, false} {
		d := open(t)
		d.named.Store(!nameless)
		w := d.NewWriter(set{}, 0)
		for _, n := range sizes() {
			data := random(n)
			got := put(t, w, data)
			if got.Written != int64(n) {
				t.Errorf("first Put of %d bytes wrote %d", n, got.Written)
			}
			if !bytes.Equal(read(t, d, got.Digest), data) {
				t.Errorf("%d bytes came back changed", n)
			}
			if again := put(t, w, data); again.Written != 0 {
				t.Errorf("second Put of %d bytes wrote %d", n, again.Written)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(d.path, "0", unfinished+"*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestPutOfATrustedLargeObjectWritesNothing(t *testing.T) {
	d := open(t)
	data := random(5 * keep)
	first := put(t, d.NewWriter(set{}, 0), data)
	known := set{first.Digest: int64(len(data))}
	before := inode(t, d, first.Digest)
	if got := put(t, d.NewWriter(known, 0), data); got.Written != 0 {
		t.Errorf("wrote %d bytes", got.Written)
	}
	if inode(t, d, first.Digest) != before {
		t.Error("the object was made anew")
	}
}

// The twin has the same size and beginning, so that only its end tells the two apart.
func TestPutThatDivergesFromItsTwin(t *testing.T) {
	for _, at := range []int{keep - 1, keep, keep + 1, 2*keep + 5, 4*keep - 1} {
		d := open(t)
		data := random(4 * keep)
		first := put(t, d.NewWriter(set{}, 0), data)
		other := bytes.Clone(data)
		other[at] ^= 1
		got := put(t, d.NewWriter(set{first.Digest: int64(len(data))}, 0), other)
		if !bytes.Equal(read(t, d, got.Digest), other) {
			t.Errorf("differs from byte %d on: came back changed", at)
		}
	}
}

func TestPutDoesNotTrustANameAlone(t *testing.T) {
	d := open(t)
	for _, n := range []int{5000, 2 * keep} {
		data := random(n)
		digest := Digest(sha256.Sum256(data))
		bad := bytes.Clone(data)
		bad[n/2] ^= 1
		for _, left := range [][]byte{bad, data[:n/2], {}} { // what a power cut leaves
			if err := os.WriteFile(filepath.Join(d.path, digest.Path()), left, 0o600); err != nil {
				t.Fatal(err)
			}
			put(t, d.NewWriter(set{}, 0), data)
			if !bytes.Equal(read(t, d, digest), data) {
				t.Errorf("%d of %d bytes under the name were taken for the object", len(left), n)
			}
			if err := d.Remove(digest); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestZerosAreHoles(t *testing.T) {
	d := open(t)
	data := make([]byte, 4*keep)
	copy(data[keep+100:], "here is something")
	got := put(t, d.NewWriter(set{}, 0), data)
	if !bytes.Equal(read(t, d, got.Digest), data) {
		t.Fatal("came back changed")
	}
	blocks, err := d.Blocks(got.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if blocks > 256<<10 {
		t.Errorf("a file of zeros takes %d bytes", blocks)
	}
}

func TestShortStreamLeavesNothing(t *testing.T) {
	d := open(t)
	for _, n := range []int{100, 2 * keep} {
		_, err := d.NewWriter(set{}, 0).Put(bytes.NewReader(random(n-1)), int64(n))
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Put of %d bytes that end early = %v", n, err)
		}
	}
	count := 0
	if err := d.All(func(Digest, int64) error { count++; return nil }); err != nil || count != 0 {
		t.Errorf("%d objects, %v", count, err)
	}
}

func TestReserveIsKept(t *testing.T) {
	d := open(t)
	var st unix.Statfs_t
	if err := unix.Statfs(d.path, &st); err != nil {
		t.Fatal(err)
	}
	all := int64(st.Bavail) * int64(st.Bsize)
	_, err := d.NewWriter(set{}, all+1<<30).Put(bytes.NewReader(random(5000)), 5000)
	if !errors.Is(err, ErrReserve) {
		t.Errorf("Put into the reserve = %v", err)
	}
}

func TestScrubSeesOneBit(t *testing.T) {
	d := open(t)
	for _, n := range []int{1, 4096, 300_001} {
		data := random(n)
		digest := put(t, d.NewWriter(set{}, 0), data).Digest
		if got, err := d.Scrub(digest); err != nil || got != int64(n) {
			t.Errorf("Scrub of %d good bytes = %d, %v", n, got, err)
		}
		path := filepath.Join(d.path, digest.Path())
		data[n-1] ^= 0x80
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Scrub(digest); !errors.Is(err, ErrDamaged) {
			t.Errorf("Scrub of %d bytes with a wrong bit = %v", n, err)
		}
	}
}

func TestReplaceIsOneStep(t *testing.T) {
	for _, nameless := range []bool{true, false} {
		d := open(t)
		d.named.Store(!nameless)
		data := random(9000)
		w := d.NewWriter(set{}, 0)
		digest := put(t, w, data).Digest
		path := filepath.Join(d.path, digest.Path())
		if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.Replace(strings.NewReader("other bytes"), digest, 11); !errors.Is(err, ErrDamaged) {
			t.Errorf("Replace by other bytes = %v", err)
		}
		if err := w.Replace(bytes.NewReader(data), digest, 9000); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read(t, d, digest), data) {
			t.Error("came back changed")
		}
		if left, _ := filepath.Glob(filepath.Join(d.path, "0", unfinished+"*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestAdoptedFileIsTheObject(t *testing.T) {
	d := open(t)
	data := random(10_000)
	w := d.NewWriter(set{}, 0)
	digest := put(t, w, data).Digest
	name := filepath.Join(filepath.Dir(d.path), "library")
	if err := os.WriteFile(name, data, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 2 {
		if _, err := d.Adopt(f, digest); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	if st.Ino != inode(t, d, digest) {
		t.Error("the object is another file")
	}
}

func TestSweepRemovesWhatWasKilled(t *testing.T) {
	d := open(t)
	d.named.Store(true)
	alive, err := d.create()
	if err != nil {
		t.Fatal(err)
	}
	defer alive.close()
	dead := filepath.Join(d.path, "0", unfinished+"dead")
	if err := os.WriteFile(dead, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Open(d.path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("what a killed writer left: %v", err)
	}
	if _, err := os.Stat(alive.name); err != nil {
		t.Errorf("what is being written: %v", err)
	}
}

func TestParseRedirect(t *testing.T) {
	d := Digest(sha256.Sum256([]byte("x")))
	if got, err := ParseRedirect(d.Redirect()); err != nil || got != d {
		t.Errorf("ParseRedirect(%q) = %v, %v", d.Redirect(), got, err)
	}
	upper := strings.ToUpper(d.Redirect())
	for _, s := range []string{"", "/", "/../etc/passwd", d.Path(), d.Redirect() + "0", upper, d.Redirect()[:65] + "g"} {
		if _, err := ParseRedirect(s); err == nil {
			t.Errorf("ParseRedirect(%q) is accepted", s)
		}
	}
}

func inode(t *testing.T, d *Dir, digest Digest) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(d.path, digest.Path()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

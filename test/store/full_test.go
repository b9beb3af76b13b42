package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
	"tare.dev/tare/test/built"
)

// small mounts an ext4 of that many bytes, none of them kept for root.
func small(t *testing.T, size int64) (at string) {
	t.Helper()
	needFilesystem(t, "ext4")
	k := filesystems()[0]
	k.size = size
	k.mkfs = append(k.mkfs, "-m", "0")
	f, err := k.empty(t).file()
	must(t, err)
	defer f.Close()
	at = t.TempDir()
	m, err := k.mount(f, at, "")
	must(t, err)
	t.Cleanup(func() { must(t, m.unmount()) })
	return at
}

// fill leaves about free bytes of the file system that at is on.
func fill(t *testing.T, at string, free int64) (undo func()) {
	t.Helper()
	var st unix.Statfs_t
	must(t, unix.Statfs(at, &st))
	path := filepath.Join(at, "filler")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for size := int64(st.Bavail)*int64(st.Bsize) - free; size > 0; size -= 16 << 10 {
		err := unix.Fallocate(fd(f), 0, 0, size)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOSPC) { // the map of the file takes room, too
			t.Fatal(err)
		}
	}
	return func() { must(t, os.Remove(path)) }
}

// A disk that is full at any moment of a pull leaves the images it has, no rubbish that gc does not
// find, and works again when there is room.
func TestDiskFullAtEveryWrite(t *testing.T) {
	s := product(t)
	j, err := newJudge(s, filepath.Join(t.TempDir(), "peace"))
	must(t, err)
	one, two := s.tags["1"], s.tags["2"]
	at := small(t, 24<<20)
	dir := filepath.Join(at, "store")
	st, err := store.Open(dir, store.Options{Reserve: -1})
	must(t, err)
	defer st.Close()
	_, err = j.pull(st, one)
	must(t, err)
	m := newModel()
	m.images[one], m.images[two] = []bool{true}, []bool{false}
	full := 0
	layers := int64(0)
	for _, b := range s.blobs {
		layers += int64(len(b))
	}
	for n := int64(0); n < 90; n++ {
		// The disk is filled while the pull goes on: what is short from the start is refused at once.
		src := &fillingSource{shelf: s, t: t, at: at, after: n * 5 % 90 * layers / 200, free: n % 30 * n % 30 * 4096}
		_, err := transfer.Pull(context.Background(), src, string(two), st, transfer.PullOptions{})
		if err == nil {
			i, err := st.Image(two)
			must(t, err)
			must(t, st.Remove(i))
		} else {
			full++
			if !strings.Contains(err.Error(), "no space left") {
				t.Errorf("%v: %v, want it to tell of the space", src, err)
			}
		}
		if err := j.store(dir, m); err != nil {
			t.Errorf("%v: %v", src, err)
		}
		if _, err := st.GC(); err != nil {
			t.Errorf("%v: %v", src, err)
		}
		src.undo()
		if err := j.tidy(st, map[object.Digest]bool{}); err != nil {
			t.Errorf("%v: %v", src, err)
		}
	}
	t.Logf("the disk was full %d times", full)
	if full < 20 {
		t.Errorf("the disk was full %d times only", full)
	}
	must(t, j.goesOn(dir, []digest.Digest{one, two}))
}

// fillingSource fills the disk when a part of the blobs has been read.
type fillingSource struct {
	*shelf
	t           *testing.T
	at          string
	after, free int64
	undone      func()
}

func (s *fillingSource) String() string {
	return fmt.Sprintf("%d bytes free after %d", s.free, s.after)
}

func (s *fillingSource) Open(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	r, err := s.shelf.Open(ctx, d, offset)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p[:min(len(p), 8<<10)])
		if s.after -= int64(n); s.after < 0 && s.undone == nil {
			s.undone = fill(s.t, s.at, s.free)
		}
		return n, err
	}), r}, nil
}

func (s *fillingSource) undo() {
	if s.undone != nil {
		s.undone()
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// The program keeps a reserve, and can remove images on a disk that is full to the last block.
func TestReserveAndRemovalOnAFullDisk(t *testing.T) {
	g := newRegistry(t, product(t))
	at := small(t, 64<<20)
	d := device{path: built.Tare(t), root: at}
	d.must(t, g.pull("1")...)
	undo := fill(t, at, 4<<20)
	line := d.refused(t, g.pull("3")...)
	if !strings.Contains(line, "no space left") {
		t.Errorf("%q, want it to tell of the space", line)
	}
	var st unix.Statfs_t
	must(t, unix.Statfs(at, &st))
	if free := int64(st.Bavail) * int64(st.Bsize); free < 2<<20 {
		t.Errorf("%d bytes are free, the reserve was more", free)
	}
	undo()
	undo = fill(t, at, 0)
	d.must(t, "images")
	d.must(t, "store", "verify")
	d.must(t, "rmi", g.name(g.host, "1"))
	undo()
	d.must(t, g.pull("3")...)
	d.must(t, "store", "verify")
}

// A file system that went read-only, as ext4 does after an error, still shows and verifies images.
func TestReadOnlyFileSystem(t *testing.T) {
	g := newRegistry(t, product(t))
	at := small(t, 64<<20)
	d := device{path: built.Tare(t), root: at}
	d.must(t, g.pull("1")...)
	must(t, unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	d.must(t, "images")
	d.must(t, "store", "verify")
	for _, args := range [][]string{g.pull("2"), {"tag", g.name(g.host, "1"), "other:1"}, {"rmi", g.name(g.host, "1")}} {
		if line := d.refused(t, args...); !strings.Contains(line, "read-only file system") {
			t.Errorf("%s: %q, want it to tell why", args, line)
		}
	}
	must(t, unix.Mount("", at, "", unix.MS_REMOUNT, ""))
	d.must(t, g.pull("2")...)
	d.must(t, "store", "verify")
}

// A disk that fails to write tells it by the barrier; no pull may count on what the kernel holds of
// such a file in memory.
func TestDiskThatFailsToWrite(t *testing.T) {
	needFilesystem(t, "ext4")
	k := filesystems()[0]
	// The first writes are data; those of the journal come after them.
	for tag, writes := range map[string]int{"1": 20, "packed": 20} {
		t.Run(tag, func(t *testing.T) { failToWrite(t, k, tag, writes) })
	}
}

func failToWrite(t *testing.T, k filesystem, tag string, writes int) {
	failed := 0
	for n := range writes {
		r := newRecorder(t, k, "", 0)
		s, j := r.registry.shelf, r.judge
		dir := filepath.Join(r.device.root, "store")
		st, err := store.Open(dir, store.Options{Reserve: -1})
		must(t, err)
		first := r.disk.writes() + 1 + n
		r.disk.setRefuse(func(n int) unix.Errno {
			if n == first {
				return unix.EIO
			}
			return 0
		})
		acked := map[digest.Digest]bool{}
		for range 2 { // the second finds what the first left
			i, err := j.pull(st, s.tags[tag])
			if err != nil {
				failed++
				continue
			}
			acked[i.Digest] = true
		}
		st.Close()
		rec := r.done()
		m := newModel()
		m.images[s.tags[tag]] = []bool{true}
		if !acked[s.tags[tag]] {
			m.images[s.tags[tag]] = []bool{true, false}
		}
		c := cut{place: len(rec.log), disk: r.disk.contents()}
		if err := j.cut(k, t.TempDir(), c, m); err != nil {
			t.Errorf("write %d fails: %v", n+1, err)
		}
	}
	t.Logf("%d pulls failed", failed)
	if failed == 0 {
		t.Error("no pull failed")
	}
}

func (d *disk) writes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wrote
}

func (d *disk) setRefuse(f func(int) unix.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuse = f
}

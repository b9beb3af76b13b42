package object

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// keep is how much of an object is held in memory before the first byte is written. An
// object that ends below it and is there already costs no write at all.
const keep = 1 << 20

// The kernel is asked to begin to write an object after each flushEvery bytes, and at its end for
// what is left if that is flushLast or more. So a slow medium writes while the layer still comes, not
// when the barrier waits for it, and dirty memory stays low on a small device. Smaller objects wait
// for the barrier, where the kernel writes neighbours together. Beside a request at every 8 MiB, this
// took 0.1 s off a pull of 1.3 s onto a disk in memory, and the same number of writes.
const (
	flushEvery = 1 << 20
	flushLast  = 256 << 10
)

// Known is what the caller knows of objects.
type Known interface {
	// Trusted tells that the object's bytes were made to last.
	Trusted(Digest) bool
	// OfSize lists trusted objects of that many bytes.
	OfSize(int64) []Digest
}

// Result is what Put did.
type Result struct {
	Digest  Digest
	Written int64 // bytes of a new object; 0 when it was there
}

// A Writer puts objects into a directory one after the other. It is for one goroutine.
type Writer struct {
	dir   *Dir
	known Known
	sum   hash.Hash
	buf   []byte // the object's beginning, up to keep
	chunk []byte

	reserve   int64 // bytes of the file system that stay free
	unchecked int64 // bytes written since the free space was looked at
}

// NewWriter returns a writer. What known trusts is not hashed again.
// A Put that would leave less than reserve bytes free on the file system is refused with
// ErrReserve, so that what the device must write in order to live still fits.
func (d *Dir) NewWriter(known Known, reserve int64) *Writer {
	return &Writer{
		dir: d, known: known, sum: sha256.New(), buf: make([]byte, keep), chunk: make([]byte, 128<<10),
		reserve: reserve, unchecked: checkEvery,
	}
}

// ErrReserve is what a write is refused with that would go into the reserve.
var ErrReserve = errors.New("no space left outside the reserve")

// checkEvery is how many bytes are written between two looks at the free space.
const checkEvery = 1 << 20

// Room refuses with ErrReserve what would leave too little free space for n bytes more.
func (w *Writer) Room(n int64) error {
	w.unchecked = checkEvery
	return w.room(n)
}

// Grow accounts for n bytes that are about to be written beside the objects.
func (w *Writer) Grow(n int64) error { return w.room(n) }

// room accounts for n bytes to be written.
func (w *Writer) room(n int64) error {
	w.unchecked += n
	if w.unchecked < checkEvery {
		return nil
	}
	w.unchecked = 0
	var st unix.Statfs_t
	if err := unix.Statfs(w.dir.path, &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: w.dir.path, Err: err}
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free-n-checkEvery < w.reserve {
		return fmt.Errorf("write object in %s: %w (%d bytes free, %d kept)", w.dir.path, ErrReserve, free, w.reserve)
	}
	return nil
}

// Put reads size bytes and makes them an object.
func (w *Writer) Put(r io.Reader, size int64) (Result, error) {
	w.sum.Reset()
	if size <= keep {
		return w.putSmall(r, size)
	}
	return w.putLarge(r, size)
}

// putSmall knows the digest before it writes.
func (w *Writer) putSmall(r io.Reader, size int64) (Result, error) {
	data := w.buf[:size]
	if _, err := io.ReadFull(r, data); err != nil {
		return Result{}, short(err)
	}
	w.sum.Write(data)
	digest := Digest(w.sum.Sum(nil))
	if there, err := w.Present(digest, size); err != nil || there {
		return Result{Digest: digest}, err
	}
	if err := w.room(size); err != nil {
		return Result{}, err
	}
	f, err := w.dir.create()
	if err != nil {
		return Result{}, err
	}
	defer f.close()
	if err := f.write(data); err != nil {
		return Result{}, err
	}
	return w.link(f, digest, size)
}

// putLarge writes as it reads, unless a trusted object of the same size begins the same: then
// the bytes are compared, and written only from where they differ.
func (w *Writer) putLarge(r io.Reader, size int64) (Result, error) {
	head := w.buf
	if _, err := io.ReadFull(r, head); err != nil {
		return Result{}, short(err)
	}
	w.sum.Write(head)
	twin := w.twin(head, size)
	if twin == nil {
		if err := w.room(size); err != nil {
			return Result{}, err
		}
		f, err := w.dir.create()
		if err != nil {
			return Result{}, err
		}
		defer f.close()
		if err := f.write(head); err != nil {
			return Result{}, err
		}
		return w.rest(r, f, size)
	}
	defer twin.Close()
	return w.compare(r, twin, size)
}

// compare reads along the twin. When all is equal nothing is written.
func (w *Writer) compare(r io.Reader, twin *os.File, size int64) (Result, error) {
	other := make([]byte, len(w.chunk))
	at := int64(keep)
	for at < size {
		part := w.chunk[:min(int64(len(w.chunk)), size-at)]
		if _, err := io.ReadFull(r, part); err != nil {
			return Result{}, short(err)
		}
		w.sum.Write(part)
		if _, err := twin.ReadAt(other[:len(part)], at); err != nil || !bytes.Equal(part, other[:len(part)]) {
			return w.diverge(r, twin, part, at, size)
		}
		at += int64(len(part))
	}
	digest := Digest(w.sum.Sum(nil))
	if !w.known.Trusted(digest) {
		// The twin was trusted and equal, so this is another object than it: a bug of ours.
		return Result{}, fmt.Errorf("object %s: equal to a trusted one of another digest: %w", digest, ErrDamaged)
	}
	return Result{Digest: digest}, nil
}

// diverge writes what was equal from the twin, then part, then the rest.
func (w *Writer) diverge(r io.Reader, twin *os.File, part []byte, at, size int64) (Result, error) {
	if err := w.room(size); err != nil {
		return Result{}, err
	}
	f, err := w.dir.create()
	if err != nil {
		return Result{}, err
	}
	defer f.close()
	if err := f.copyFrom(twin, at); err != nil {
		return Result{}, err
	}
	if err := f.write(part); err != nil {
		return Result{}, err
	}
	return w.rest(r, f, size)
}

// rest writes what follows the bytes f has.
func (w *Writer) rest(r io.Reader, f *file, size int64) (Result, error) {
	for f.size < size {
		part := w.chunk[:min(int64(len(w.chunk)), size-f.size)]
		if _, err := io.ReadFull(r, part); err != nil {
			return Result{}, short(err)
		}
		w.sum.Write(part)
		if err := f.write(part); err != nil {
			return Result{}, err
		}
	}
	digest := Digest(w.sum.Sum(nil))
	if there, err := w.Present(digest, size); err != nil || there {
		return Result{Digest: digest}, err
	}
	return w.link(f, digest, size)
}

// Present tells whether the object is there and good. A bad one is removed: nothing that is
// committed refers to it, or repair would have to bring it back just as well.
func (w *Writer) Present(digest Digest, size int64) (bool, error) {
	have, ok, err := w.dir.Stat(digest)
	if err != nil || !ok {
		return false, err
	}
	if w.known.Trusted(digest) && have == size {
		return true, nil
	}
	if have == size {
		// From the medium, not from memory: when the kernel could not write a file it tells of it once,
		// to whoever made it, and keeps the pages as if they were written (fsync(2), "EIO").
		_, err := w.dir.Scrub(digest)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, ErrDamaged) {
			return false, err
		}
	}
	return false, w.dir.Remove(digest)
}

// twin opens a trusted object of that size that begins with head, or nil.
func (w *Writer) twin(head []byte, size int64) *os.File {
	probe := make([]byte, 64<<10)
	for _, digest := range w.known.OfSize(size) {
		f, err := w.dir.Open(digest)
		if err != nil {
			continue
		}
		if equalStart(f, head, probe) {
			return f
		}
		f.Close()
	}
	return nil
}

func equalStart(f *os.File, head, probe []byte) bool {
	for at := 0; at < len(head); at += len(probe) {
		part := probe[:min(len(probe), len(head)-at)]
		if _, err := f.ReadAt(part, int64(at)); err != nil || !bytes.Equal(part, head[at:at+len(part)]) {
			return false
		}
	}
	return true
}

func (w *Writer) link(f *file, digest Digest, size int64) (Result, error) {
	err := f.link(digest)
	if errors.Is(err, fs.ErrExist) {
		// Another process made it in the meantime: its bytes count once they are verified.
		if there, err := w.Present(digest, size); err != nil || there {
			return Result{Digest: digest}, err
		}
		err = f.link(digest)
	}
	if err != nil {
		return Result{}, err
	}
	if w.dir.verity {
		f.close() // it is for files that nobody can write to
		if err := w.dir.seal(digest); err != nil {
			return Result{}, err
		}
	}
	return Result{Digest: digest, Written: size}, nil
}

func short(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

package object

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Scrub hashes an object as it is on the medium: what the page cache holds says nothing of the
// flash below it. A wrong digest is ErrDamaged. It returns the bytes read.
func (d *Dir) Scrub(digest Digest) (int64, error) {
	name := filepath.Join(d.path, digest.Path())
	fd, err := unix.Openat(d.fd, digest.Path(), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_DIRECT, 0)
	if err != nil {
		return d.scrubCached(digest) // a file system without direct I/O
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	h := sha256.New()
	buf := aligned(256 << 10)
	var total int64
	for {
		n, err := f.Read(buf)
		h.Write(buf[:n])
		total += int64(n)
		switch {
		case errors.Is(err, io.EOF):
			if Digest(h.Sum(nil)) != digest {
				return total, fmt.Errorf("object %s: %w", digest, ErrDamaged)
			}
			return total, nil
		case errors.Is(err, unix.EINVAL) && total == 0:
			return d.scrubCached(digest)
		case err != nil:
			return total, fmt.Errorf("object %s: %w: %w", digest, ErrDamaged, err) // EIO, EBADMSG: the medium gave up
		}
	}
}

// scrubCached drops the pages nobody maps first.
func (d *Dir) scrubCached(digest Digest) (int64, error) {
	f, err := d.Open(digest)
	if err != nil {
		return 0, err
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	f.Close()
	return d.Verify(digest)
}

// aligned is memory that direct I/O accepts: it begins at a page.
func aligned(size int) []byte {
	page := os.Getpagesize()
	b := make([]byte, size+page)
	skip := page - int(uintptr(unsafe.Pointer(&b[0]))&uintptr(page-1))
	return b[skip : skip+size]
}

// Resident tells how many bytes of a file are in the page cache (mincore(2)).
func Resident(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return 0, err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, &fs.PathError{Op: "mmap", Path: f.Name(), Err: err}
	}
	defer unix.Munmap(m)
	page := os.Getpagesize()
	vec := make([]byte, (len(m)+page-1)/page)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&vec[0]))); errno != 0 {
		return 0, &fs.PathError{Op: "mincore", Path: f.Name(), Err: errno}
	}
	var n int64
	for _, v := range vec {
		if v&1 != 0 {
			n += int64(page)
		}
	}
	return min(n, st.Size()), nil
}

package object

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A file is an object that has no name yet.
type file struct {
	dir  *Dir
	fd   int
	name string // where it stands until it is linked; "" when it has no name
	size int64
	// flushed is how far the kernel was asked to write.
	flushed int64
}

const unfinished = ".new-"

// create makes a file without a name: ext4, xfs, btrfs, f2fs, tmpfs and, from Linux 4.9, ubifs have
// O_TMPFILE. Others refuse it with EOPNOTSUPP (open(2)); that is not tried out beforehand, since
// even a file that is closed at once costs ext4 a write.
func (d *Dir) create() (*file, error) {
	if d.named.Load() {
		return d.createNamed()
	}
	fd, err := unix.Openat(d.fd, "0", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o444)
	switch {
	case err == nil:
		d.first.Do(func() { d.verity = probeVerity(fd) })
		return &file{dir: d, fd: fd}, nil
	case errors.Is(err, unix.EOPNOTSUPP):
		d.named.Store(true)
		return d.createNamed()
	}
	return nil, &fs.PathError{Op: "create object in", Path: d.path, Err: err}
}

func (d *Dir) createNamed() (*file, error) {
	var random [8]byte
	_, _ = rand.Read(random[:])
	name := filepath.Join(d.path, "0", unfinished+hex.EncodeToString(random[:]))
	fd, err := unix.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o444)
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: err}
	}
	f := &file{dir: d, fd: fd, name: name}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.close()
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	return f, nil
}

// sweep removes what a killed writer left on a file system without O_TMPFILE. Whoever still
// writes holds a lock on its file.
func (d *Dir) sweep() error {
	first := filepath.Join(d.path, "0")
	names, err := os.ReadDir(first)
	if err != nil {
		return err
	}
	for _, e := range names {
		if !strings.HasPrefix(e.Name(), unfinished) {
			continue
		}
		fd, err := unix.Openat(d.fd, "0/"+e.Name(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.Remove(filepath.Join(first, e.Name()))
		}
		unix.Close(fd)
	}
	return nil
}

const block = 4096

// write appends. Blocks of zeros are left as holes: they cost no flash.
func (f *file) write(p []byte) error {
	for len(p) > 0 {
		n := run(p)
		if n < block || !zero(p[:n]) {
			if err := f.pwrite(p[:n]); err != nil {
				return err
			}
		}
		f.size += int64(n)
		p = p[n:]
	}
	if f.size-f.flushed >= flushEvery {
		f.flush()
	}
	return nil
}

// flush asks the kernel to begin to write. The barrier is the store's.
func (f *file) flush() {
	_ = unix.SyncFileRange(f.fd, f.flushed, f.size-f.flushed, unix.SYNC_FILE_RANGE_WRITE)
	f.flushed = f.size
}

// run is how many bytes at the start of p are alike in being blocks of zeros or not.
func run(p []byte) int {
	if len(p) <= block {
		return len(p)
	}
	first := zero(p[:block])
	n := block
	for n+block <= len(p) && zero(p[n:n+block]) == first {
		n += block
	}
	if !first && len(p)-n < block {
		return len(p)
	}
	return n
}

func zero(p []byte) bool {
	for len(p) >= 8 {
		if p[0]|p[1]|p[2]|p[3]|p[4]|p[5]|p[6]|p[7] != 0 {
			return false
		}
		p = p[8:]
	}
	for _, c := range p {
		if c != 0 {
			return false
		}
	}
	return true
}

func (f *file) pwrite(p []byte) error {
	at := f.size
	for len(p) > 0 {
		n, err := unix.Pwrite(f.fd, p, at)
		if err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return &fs.PathError{Op: "write object in", Path: f.dir.path, Err: err}
		}
		p, at = p[n:], at+int64(n)
	}
	return nil
}

// copyFrom writes the first n bytes of another object.
func (f *file) copyFrom(from *os.File, n int64) error {
	part := make([]byte, 128<<10)
	for f.size < n {
		p := part[:min(int64(len(part)), n-f.size)]
		if _, err := from.ReadAt(p, f.size); err != nil {
			return err
		}
		if err := f.write(p); err != nil {
			return err
		}
	}
	return nil
}

// link gives the file its name. One that is taken is fs.ErrExist.
func (f *file) link(digest Digest) error {
	if err := unix.Ftruncate(f.fd, f.size); err != nil {
		return f.dir.fail("truncate", digest, err)
	}
	if f.size-f.flushed >= flushLast {
		f.flush()
	}
	var err error
	if f.name == "" {
		err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.fd), f.dir.fd, digest.Path(), unix.AT_SYMLINK_FOLLOW)
	} else {
		err = unix.Linkat(unix.AT_FDCWD, f.name, f.dir.fd, digest.Path(), 0)
	}
	if err != nil {
		return f.dir.fail("name", digest, err)
	}
	return nil
}

func (f *file) close() {
	if f.fd < 0 {
		return
	}
	unix.Close(f.fd)
	f.fd = -1
	if f.name != "" {
		_ = os.Remove(f.name)
	}
}

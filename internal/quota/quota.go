// Package quota bounds what may be written below a directory, by the file system's project quotas.
//
// A directory that Limit was called for is bounded, or Limit returned an error: there is no file
// system on which a limit is accepted and does nothing. The directory's project is its only record:
// its inode has the number, its files inherit it, and the file system counts. Numbers are chosen under
// a lock of the whole file system, so two processes, or two stores, never take the same.
//
// A process with CAP_SYS_RESOURCE goes beyond the limits of ext4 and f2fs. Overlayfs, which writes with the
// rights of who mounted it, lays that one down (since Linux 4.10).
package quota

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrNone is a file system that has no project quotas, or does not enforce them.
var ErrNone = errors.New("no project quotas")

// Projects from first on are ours to take; administrators begin at 1, and XFS allows 32 bits.
const (
	first = 0x54415200
	count = 1 << 16
)

// A Usage is of a directory with a limit, in bytes.
type Usage struct{ Limit, Used int64 }

// Limit bounds what may be in dir, whose file system has to have project quotas: ErrNone says that it
// has not. A directory that is not empty must have had a limit before, for the files in it are not
// counted otherwise.
func Limit(dir string, bytes int64) error {
	d, err := open(dir)
	if err == nil {
		defer d.Close()
		err = d.limit(bytes)
	}
	if err != nil {
		return fmt.Errorf("limit %s: %w", dir, err)
	}
	return nil
}

// Of is the usage of a directory that Limit was called for; ok is false for any other.
func Of(dir string) (u Usage, ok bool, err error) {
	d, err := open(dir)
	if err != nil {
		return u, false, err
	}
	defer d.Close()
	own, err := d.own()
	if err != nil || own == 0 {
		return u, false, nil // a file system without projects has no limits
	}
	q, err := d.get(own)
	if err != nil {
		return u, false, fmt.Errorf("quota of %s: %w", dir, err)
	}
	return Usage{Limit: int64(q.HardLimit) * unit, Used: int64(q.Space)}, q.HardLimit != 0, nil
}

// Release takes the limit of dir away, which is about to be removed. Its number is free when the
// last of its files is gone. A directory without a limit is no error.
func Release(dir string) error {
	d, err := open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	own, err := d.own()
	if err != nil || own == 0 {
		return nil // as in Of
	}
	if err := d.set(own, 0); err != nil {
		return fmt.Errorf("take the limit of %s away: %w", dir, err)
	}
	return nil
}

type directory struct {
	*os.File
	dev uint64
}

func open(dir string) (*directory, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	return &directory{f, uint64(st.Dev)}, nil
}

func (d *directory) limit(bytes int64) error {
	if err := d.enforced(); err != nil {
		return err
	}
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	id, err := d.own()
	if err != nil {
		return err
	}
	if id == 0 {
		if id, err = d.choose(); err != nil {
			return err
		}
		// Now the number is taken, though it bounds nothing yet: a cut here is mended by the next call.
		if err := setProject(d.File, id); err != nil {
			return err
		}
	}
	return d.set(id, bytes)
}

// own is the project that the directory does not have from the one above it; 0 means none.
func (d *directory) own() (uint32, error) {
	a, err := attributes(d.File)
	if err != nil {
		return 0, err
	}
	if a.Project < first || a.Project >= first+count {
		return 0, nil
	}
	above, err := os.Open(filepath.Join(d.Name(), ".."))
	if err != nil {
		return 0, err
	}
	defer above.Close()
	b, err := attributes(above)
	if err == nil && a.Project == b.Project {
		return 0, nil
	}
	return a.Project, nil // the directory is where a file system is mounted
}

// choose finds a number that has neither files nor a limit.
func (d *directory) choose() (uint32, error) {
	switch _, err := d.Readdirnames(1); {
	case err == nil:
		return 0, errors.New("holds files that were written without a limit: remove them, or go on without")
	case !errors.Is(err, io.EOF):
		return 0, err
	}
	for id := uint32(first); id < first+count; id++ {
		q, err := d.get(id)
		if err != nil {
			return 0, err
		}
		if q.HardLimit == 0 && q.SoftLimit == 0 && q.Inodes == 0 && q.Space == 0 {
			return id, nil
		}
	}
	return 0, fmt.Errorf("all of %d projects are taken", count)
}

// lock takes the lock of the file system: that of its topmost directory in sight.
func (d *directory) lock() (func() error, error) {
	path, err := filepath.Abs(d.Name())
	if err != nil {
		return nil, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, err
	}
	for path != "/" {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Dir(path), &st); err != nil {
			return nil, &fs.PathError{Op: "stat", Path: filepath.Dir(path), Err: err}
		}
		if uint64(st.Dev) != d.dev {
			break
		}
		path = filepath.Dir(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return f.Close, nil
}

package imagecli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Words of --write besides a directory.
const (
	inMemory = "memory"
	onFlash  = "flash"
)

// memoryLimit is what a container may write to memory unless told otherwise, in bytes.
const memoryLimit = 64 << 20

func (r *run) checkWrite() error {
	limit, err := r.writeLimit()
	switch {
	case err != nil:
		return err
	case r.write == "" || r.write == inMemory:
		if limit == noLimit {
			return errors.New("--write-size none: what is written to memory has a limit")
		}
	case r.o.ReadOnly:
		return fmt.Errorf("--write %s: nothing is written with --read-only", r.write)
	case r.write != onFlash && !strings.Contains(r.write, "/"):
		return fmt.Errorf("--write %s: want memory, flash, or the path of a directory, as ./%[1]s", r.write)
	}
	return nil
}

// writeLimit is in bytes; 0 was not given.
func (r *run) writeLimit() (int64, error) {
	switch r.writeSize {
	case "":
		return 0, nil
	case "none":
		return noLimit, nil
	}
	n, err := parseSize(r.writeSize)
	if err != nil {
		return 0, fmt.Errorf("--write-size %w", err)
	}
	return n, nil
}

// writable makes the directories for what the container writes.
func (r *run) writable(s *session, in *instance) (upper, work string, err error) {
	if r.write == "" || r.write == inMemory {
		return r.writeMemory(in)
	}
	w := layerSpec{entry: r.name, image: in.image.Digest}
	if w.limit, err = r.writeLimit(); err != nil {
		return "", "", err
	}
	switch {
	case r.write != onFlash:
		w.entry = ""
		if w.at, err = filepath.Abs(r.write); err != nil {
			return "", "", err
		}
	case r.name == "":
		w.entry, in.once = oncePrefix+in.id, true
	default:
		in.once = r.rm
	}
	if in.layer, err = s.openLayer(w); err != nil {
		return "", "", fmt.Errorf("run: %w", err)
	}
	return in.layer.upper(), in.layer.work(), nil
}

// writeMemory mounts a file system in memory. It has no more inodes than files of a page have room:
// those take memory, too, that its size does not count.
func (r *run) writeMemory(in *instance) (upper, work string, err error) {
	limit, err := r.writeLimit()
	if err != nil {
		return "", "", err
	}
	if limit == 0 {
		limit = memoryLimit
	}
	dir := filepath.Join(in.dir, "write")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", "", err
	}
	options := fmt.Sprintf("mode=755,size=%d,nr_inodes=%d", limit, max(limit/2048, 1024))
	if err := unix.Mount("tare", dir, "tmpfs", unix.MS_NODEV, options); err != nil {
		return "", "", &fs.PathError{Op: "mount tmpfs on", Path: dir, Err: err}
	}
	in.mounts = append(in.mounts, dir)
	upper, work = filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	return upper, work, errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755))
}

// closeLayer keeps what was written to flash, or removes it.
func (in *instance) closeLayer() error {
	l := in.layer
	if l == nil {
		return nil
	}
	if in.once {
		return l.remove()
	}
	return l.own.Close()
}

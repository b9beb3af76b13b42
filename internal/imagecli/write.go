package imagecli

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"tare.dev/tare/internal/instance"
	"tare.dev/tare/internal/store"
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
	n, err := instance.ParseSize(r.writeSize)
	if err != nil {
		return 0, fmt.Errorf("--write-size %w", err)
	}
	return n, nil
}

// writable makes the directories for what the container writes.
func (r *run) writable(s *session, in *instance.Instance, image *store.Image) (upper, work string, err error) {
	limit, err := r.writeLimit()
	if err != nil {
		return "", "", err
	}
	if r.write == "" || r.write == inMemory {
		if limit == 0 {
			limit = memoryLimit
		}
		return in.WriteMemory(limit)
	}
	w := layerSpec{entry: r.name, image: image.Digest, limit: limit}
	switch {
	case r.write != onFlash:
		w.entry = ""
		if w.at, err = filepath.Abs(r.write); err != nil {
			return "", "", err
		}
	case r.name == "":
		w.entry, r.once = oncePrefix+in.ID, true
	default:
		r.once = r.rm
	}
	if r.layer, err = s.openLayer(w); err != nil {
		return "", "", fmt.Errorf("run: %w", err)
	}
	return r.layer.upper(), r.layer.work(), nil
}

// closeLayer keeps what was written to flash, or removes it.
func (r *run) closeLayer() error {
	l := r.layer
	if l == nil {
		return nil
	}
	if r.once {
		return l.remove()
	}
	return l.own.Close()
}

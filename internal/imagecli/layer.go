package imagecli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	digest "github.com/opencontainers/go-digest"

	"tare.dev/tare/internal/instance"
	"tare.dev/tare/internal/quota"
	"tare.dev/tare/internal/store"
)

// An upperLayer is a directory on flash for what a container writes: upper and work of overlayfs, and the
// file image with the digest of the image it is over. It is a layer when it has that file; before, it
// is rubbish of a command that was killed.
//
//	ROOT/containers/NAME       of a container with a name, kept for the next one of that name
//	ROOT/containers/.once-ID   of one without, removed after it
//	ROOT/containers/.at-HEX    symbolic link to a directory of the user's, which holds the image, too
//	ROOT/containers/.removed-X what is being removed
type upperLayer struct {
	dir string
	own *os.File // its lock
}

const (
	oncePrefix = ".once-"
	atPrefix   = ".at-"
)

func (s *session) layersDir() (string, error) {
	root, err := filepath.Abs(s.root)
	return filepath.Join(root, "containers"), err
}

// A layerSpec is the layer a run wants.
type layerSpec struct {
	entry string // below ROOT/containers; "" for at
	at    string // a directory of the user's
	image digest.Digest
	limit int64 // bytes; 0 is what it had, noLimit none
}

const noLimit = -1

// openLayer makes the layer that lacks, or takes the one that is there. The caller uses the image.
func (s *session) openLayer(w layerSpec) (*upperLayer, error) {
	dirs, err := s.layersDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dirs, 0o711); err != nil {
		return nil, err
	}
	unlock, err := instance.LockWait(dirs) // against sweepLayers
	if err != nil {
		return nil, err
	}
	defer unlock.Close()
	l := &upperLayer{dir: filepath.Join(dirs, w.entry)}
	if w.entry == "" {
		l.dir = w.at
	}
	if err := os.MkdirAll(l.dir, 0o711); err != nil {
		return nil, err
	}
	if l.own, err = instance.Lock(l.dir); err != nil {
		return nil, fmt.Errorf("layer %s: in use by a container (%w)", l.dir, err)
	}
	if err = l.prepare(w); err == nil && w.entry == "" {
		err = point(dirs, l.dir)
	}
	if err != nil {
		l.own.Close()
		return nil, err
	}
	return l, nil
}

func (l *upperLayer) prepare(w layerSpec) error {
	of, err := os.ReadFile(filepath.Join(l.dir, store.HolderImage))
	if errors.Is(err, fs.ErrNotExist) {
		if err := l.make(w); err != nil {
			_ = os.Remove(l.dir) // if it is empty
			return err
		}
		return nil
	}
	if err != nil {
		return err
	}
	if have := strings.TrimSpace(string(of)); have != w.image.String() {
		return fmt.Errorf("layer %s: is over image %s, not %s (%s)", l.dir, have, w.image, w.removal())
	}
	switch {
	case w.limit > 0:
		return instance.Limit(l.dir, w.limit)
	case w.limit == noLimit:
		return quota.Release(l.dir)
	}
	return nil
}

func (w layerSpec) removal() string {
	if w.entry == "" {
		return "remove the directory, or name another"
	}
	return "tare rm " + w.entry + " removes what it wrote"
}

// make writes the image's digest last: a cut before leaves no layer.
func (l *upperLayer) make(w layerSpec) error {
	if w.limit == 0 {
		return errors.New("--write on flash: say how much with --write-size SIZE, or --write-size none")
	}
	upper, work := filepath.Join(l.dir, "upper"), filepath.Join(l.dir, "work")
	for _, dir := range []string{upper, work} { // of one that was killed, or of nobody knows whom
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("layer %s: of an unknown image: %w", l.dir, err)
		}
	}
	if w.limit > 0 {
		if err := instance.Limit(l.dir, w.limit); err != nil {
			return err
		}
	}
	for _, dir := range []string{upper, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	return instance.WriteLasting(filepath.Join(l.dir, store.HolderImage), w.image.String()+"\n")
}

// point lets a directory of the user's hold its image.
func point(dirs, at string) error {
	sum := sha256.Sum256([]byte(at))
	link := filepath.Join(dirs, atPrefix+hex.EncodeToString(sum[:8]))
	err := os.Symlink(at, link)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (l *upperLayer) upper() string { return filepath.Join(l.dir, "upper") }
func (l *upperLayer) work() string  { return filepath.Join(l.dir, "work") }

// remove takes the layer away. It loses its name first: half of it is never used again.
func (l *upperLayer) remove() error {
	defer l.own.Close()
	return instance.Bury(l.dir)
}

// sweepLayers removes what was left of containers whose command was killed, and which run no more.
// sweep comes before it and knows which do.
func (s *session) sweepLayers() error {
	dirs, err := s.layersDir()
	if err != nil {
		return err
	}
	entries, err := entriesOf(dirs)
	if err != nil || len(entries) == 0 {
		return err
	}
	unlock, err := instance.LockWait(dirs)
	if err != nil {
		return err
	}
	defer unlock.Close()
	errs := []error{instance.SweepRemoved(dirs)}
	for _, e := range entries {
		at := filepath.Join(dirs, e.Name())
		switch id, once := strings.CutPrefix(e.Name(), oncePrefix); {
		case once && !s.runs(id):
			errs = append(errs, sweepLayer(at))
		case strings.HasPrefix(e.Name(), atPrefix):
			if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, os.Remove(at))
			}
		}
	}
	return errors.Join(errs...)
}

func sweepLayer(at string) error {
	own, err := instance.Lock(at)
	if err != nil {
		return nil // somebody uses it, or it is gone
	}
	return (&upperLayer{at, own}).remove()
}

// runs tells whether there is a container, after a sweep.
func (s *session) runs(id string) bool {
	_, err := os.Stat(filepath.Join(s.run, "containers", id))
	return err == nil
}

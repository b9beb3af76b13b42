package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	digest "github.com/opencontainers/go-digest"

	"tare.dev/tare/internal/object"
)

// resumeDir is the directory in tmp/ of layers that an unfinished pull has unpacked: a file for each, by the layer's
// digest, from which the next pull goes on. What a file says counts once it has been checked. They go when an image
// with the layer is committed, and with gc.
const resumeDir = "resume"

// maxCheckpoints is how often a stage may end its pack of small files early: each is one pack more for the image.
const maxCheckpoints = 4

// Checkpoint ends the pack of small files, so that they outlast the stage, and returns all packs that it has made or
// uses. Beyond a number of times it is refused: ok is false.
func (st *Stage) Checkpoint() (packs []digest.Digest, ok bool, err error) {
	b := st.small
	if b.w != nil && b.made == maxCheckpoints {
		return nil, false, nil
	}
	d, err := b.finish(st.store)
	if err != nil {
		return nil, false, err
	}
	if d != "" {
		b.made++
		st.UseSmall([]digest.Digest{d})
		if at := slices.Index(b.packs, d); at >= 0 {
			b.used[at] = true
		}
	}
	return b.own(), true, nil
}

// Scratch makes a file in the stage's directory, which goes with it.
func (st *Stage) Scratch(name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(st.dir, name), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o444)
}

// DropScratch removes a file of Scratch that is still there.
func (st *Stage) DropScratch(name string) { _ = os.Remove(filepath.Join(st.dir, name)) }

// KeepLayer keeps a file of Scratch for the next pull of the layer.
func (st *Stage) KeepLayer(layer digest.Digest, name string) error {
	dir := st.store.path("tmp", resumeDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Rename(filepath.Join(st.dir, name), filepath.Join(dir, layer.Encoded()))
}

// DropLayer removes what was kept of a layer, if there is anything.
func (st *Stage) DropLayer(layer digest.Digest) error {
	err := os.Remove(st.store.path("tmp", resumeDir, layer.Encoded()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// KeptLayer opens what was kept of a layer. There is mostly nothing: fs.ErrNotExist.
func (s *Store) KeptLayer(layer digest.Digest) (*os.File, error) {
	return os.Open(s.path("tmp", resumeDir, layer.Encoded()))
}

// TryPacks has the image use packs rather than others, once the bytes of those that no image has are found right. It
// returns an error when they are not, or when they would be too many.
func (st *Stage) TryPacks(packs []digest.Digest) error {
	b, more := st.small, 0
	for _, d := range packs {
		at := slices.Index(b.packs, d)
		if at < 0 {
			if d.Validate() != nil {
				return object.ErrDamaged
			}
			if err := st.store.packGood(d); err != nil {
				return err
			}
			b.know(st.store, d)
		}
		if at < 0 || !b.may[at] {
			more++
		}
	}
	b.sort()
	if b.count+more > maxOwnPacks+maxCheckpoints {
		return errMany
	}
	b.prefer(packs)
	return nil
}

var errMany = errors.New("too many packs for one image")

// Whole tells whether an object is there and good, for the image to use it. One that no image has is hashed.
func (st *Stage) Whole(d object.Digest, size int64) (bool, error) {
	if size > Small {
		return st.put.Present(d, size)
	}
	if at, ok := st.small.find(d); ok && st.small.can(at) {
		return true, nil
	}
	return st.small.here(d, size)
}

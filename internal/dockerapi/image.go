package dockerapi

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime/debug"
	"sync"

	digest "github.com/opencontainers/go-digest"

	"tare.dev/tare/internal/instance"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/rootfs"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

// ImageOptions say where images are and who uses them.
type ImageOptions struct {
	Store *store.Store
	Run   string // the engine's directory in memory
	// Users returns the containers, by their ids, that are made from an image.
	Users func(digest string) []string
	// Event publishes what became of an image.
	Event func(action, id string, attributes map[string]string)
}

// imageAPI is the routes about images. The Id of an image is the digest of its manifest, as in docker's
// image store of containerd: two images of one config are two here.
type imageAPI struct {
	ImageOptions

	mu     sync.Mutex
	moving int  // transfers that go on
	swept  bool // files of no image are there to be removed once nothing moves
	sizes  map[digest.Digest]int64
}

func newImageAPI(o ImageOptions) *imageAPI {
	return &imageAPI{ImageOptions: o, sizes: map[digest.Digest]int64{}}
}

// routes of images.
func (a *imageAPI) routes() []route {
	return []route{
		{"GET", "/images/json", a.list},
		{"POST", "/images/create", a.create},
		{"POST", "/images/load", a.load},
		{"POST", "/images/prune", a.prune},
		{"GET", "/images/get", a.save},
		{"GET", "/images/search", a.search},
		{"GET", "/images/{name}/json", a.inspect},
		{"GET", "/images/{name}/history", a.history},
		{"GET", "/images/{name}/get", a.save},
		{"GET", "/images/{name}/attestations", a.attestations},
		{"POST", "/images/{name}/push", a.push},
		{"POST", "/images/{name}/tag", a.tag},
		{"DELETE", "/images/{name}", a.remove},
		{"GET", "/distribution/{name}/json", a.distribution},
	}
}

// statusError is an error with the HTTP status it is answered with.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// Status is the HTTP status.
func (e *statusError) Status() int { return e.status }

func statusErrorf(status int, format string, args ...any) error {
	return &statusError{status, fmt.Errorf(format, args...)}
}

// find finds an image by what a client calls it: a name, a digest, or the beginning of one.
func (a *imageAPI) find(name string) (*store.Image, error) {
	i, err := a.lookup(name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, statusErrorf(http.StatusNotFound, "No such image: %s", familiar(name))
	case errors.Is(err, store.ErrAmbiguous):
		return nil, &statusError{http.StatusBadRequest, err}
	}
	return i, err
}

func (a *imageAPI) lookup(name string) (*store.Image, error) {
	r, err := reference.Parse(name)
	if err != nil {
		return a.Store.Find(name)
	}
	if i, err := a.Store.Find(r.String()); err == nil {
		return i, nil
	}
	if r.Digest == "" {
		return a.Store.Find(name)
	}
	// NAME@DIGEST of an image that was pulled by a tag.
	i, err := a.Store.Image(r.Digest)
	if err != nil {
		return nil, err
	}
	for _, n := range i.Names {
		if of, err := reference.Parse(n); err == nil && of.Name() == r.Name() {
			return i, nil
		}
	}
	return nil, fmt.Errorf("image %s: %w", name, store.ErrNotFound)
}

// familiar is a name as people type it.
func familiar(name string) string {
	r, err := reference.Parse(name)
	if err != nil {
		return name
	}
	return r.Familiar()
}

func (a *imageAPI) mounter() *rootfs.Mounter {
	return &rootfs.Mounter{Run: filepath.Join(a.Run, "mnt")}
}

// whole holds an image with all its files, so that it can be read. It is let go with what became of the
// reading.
func (a *imageAPI) whole(i *store.Image) (w transfer.Stored, let func(error) error, err error) {
	use, err := i.Use()
	if err != nil {
		return w, nil, err
	}
	m := a.mounter()
	let = func(err error) error { return errors.Join(err, use.Close(), instance.Release(m, i)) }
	packs, err := instance.MountPacks(m, a.Store, i)
	if err != nil {
		return w, nil, let(err)
	}
	return transfer.Stored{Store: a.Store, Image: i, Packs: packs}, let, nil
}

// move begins a transfer, and end is called at its end. Files that no image has are not removed
// meanwhile: that would wait, and its client with it.
func (a *imageAPI) move() (end func()) {
	a.mu.Lock()
	a.moving++
	a.mu.Unlock()
	return func() {
		a.mu.Lock()
		a.moving--
		sweep := a.moving == 0 && a.swept
		a.mu.Unlock()
		if sweep {
			_, _ = a.gc() // what it leaves, the next one finds
		}
		debug.FreeOSMemory() // the next transfer may be weeks away
	}
}

// gc removes the files that no image has, at once or after the transfers that go on.
func (a *imageAPI) gc() (store.Freed, error) {
	a.mu.Lock()
	a.swept = a.moving > 0
	later := a.swept
	a.mu.Unlock()
	if later {
		return store.Freed{}, nil
	}
	freed, err := a.Store.GC()
	if err != nil {
		return freed, err
	}
	return freed, rootfs.SweepStubs(filepath.Join(a.Store.Dir(), "stubs"), func(key string) bool {
		_, err := a.Store.Image(digest.NewDigestFromEncoded(digest.SHA256, key))
		return !errors.Is(err, store.ErrNotFound)
	})
}

func (a *imageAPI) event(action string, id digest.Digest, name string) {
	if a.Event == nil {
		return
	}
	attributes := map[string]string{}
	if name != "" {
		attributes["name"] = familiar(name)
	}
	a.Event(action, id.String(), attributes)
}

func (a *imageAPI) users(i *store.Image) []string {
	if a.Users == nil {
		return nil
	}
	return a.Users(i.Digest.String())
}

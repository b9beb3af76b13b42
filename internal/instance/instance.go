// Package instance prepares the place of a container: a directory in memory with its bundle, its mounted
// root file system and what it writes.
//
// What is mounted below the directory is unmounted before the directory is removed: nothing is ever
// removed through a mount. Who runs the container, and when, is left to the callers.
package instance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/rootfs"
	"tare.dev/tare/internal/store"
)

// Kept is the file of a container's directory that says that the engine looks after it: commands that
// sweep up behind killed commands leave it alone.
const Kept = "engine"

// Names in a container's directory.
const (
	rootfsDir = "rootfs"
	WriteDir  = "write" // what the container writes to memory
	specFile  = "config.json"
)

// An Instance is a container's directory in memory. The directory is locked while its command lives.
type Instance struct {
	ID, Dir string

	mounter *rootfs.Mounter
	own     *os.File // its lock; nil for one that the engine keeps
	image   *store.Image
	use     *store.Lock
	mounts  []string // to be unmounted, the last first
}

// ErrExist is a directory of that name that is there already.
var ErrExist = errors.New("a container of that name is there already")

// New makes the directory RUN/containers/ID, and locks it.
func New(run, id string, m *rootfs.Mounter) (*Instance, error) {
	in := &Instance{ID: id, Dir: filepath.Join(run, "containers", id), mounter: m}
	if err := os.MkdirAll(filepath.Dir(in.Dir), 0o711); err != nil {
		return nil, err
	}
	var err error
	for try := range 100 {
		if err = in.make(); err == nil {
			return in, nil
		}
		if try == 0 && errors.Is(err, fs.ErrExist) {
			break
		}
		// A command that sweeps up took it for one of a killed command, before we had its lock.
		if !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, err
		}
		time.Sleep(time.Millisecond)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("container %s: %w", id, ErrExist)
	}
	return nil, err
}

// make makes the directory and locks it.
func (in *Instance) make() error {
	if err := os.Mkdir(in.Dir, 0o711); err != nil {
		return err
	}
	own, err := Lock(in.Dir)
	if err != nil {
		return err
	}
	mine, err := own.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Stat(in.Dir); err == nil && !os.SameFile(mine, there) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		own.Close()
		return err
	}
	in.own = own
	return nil
}

// Open makes the directory RUN/containers/ID for the engine, or takes the one that is there, with what
// is mounted in it.
func Open(run, id string, m *rootfs.Mounter) (*Instance, error) {
	in := &Instance{ID: id, Dir: filepath.Join(run, "containers", id), mounter: m}
	if err := os.MkdirAll(in.Dir, 0o711); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(in.Dir, Kept), nil, 0o600); err != nil {
		return nil, err
	}
	for _, name := range []string{WriteDir, rootfsDir} {
		if at := filepath.Join(in.Dir, name); mounted(at) {
			in.mounts = append(in.mounts, at)
		}
	}
	return in, nil
}

// mounted tells whether a file system is mounted on the directory.
func mounted(at string) bool {
	var it, above unix.Stat_t
	return unix.Stat(at, &it) == nil && unix.Stat(filepath.Dir(at), &above) == nil && it.Dev != above.Dev
}

// Use holds the image: by a lock while this process lives, by a file of the directory after it.
func (in *Instance) Use(image *store.Image) (err error) {
	if in.use, err = image.Use(); err != nil {
		return err
	}
	in.image = image
	return os.WriteFile(filepath.Join(in.Dir, store.HolderImage), []byte(image.Digest.String()), 0o600)
}

// Rootfs is where the root file system is mounted.
func (in *Instance) Rootfs() string { return filepath.Join(in.Dir, rootfsDir) }

// Mounted tells whether it is.
func (in *Instance) Mounted() bool { return mounted(in.Rootfs()) }

// Mount mounts the root file system of the image in use. upper and work are from WriteMemory, or
// directories on flash.
func (in *Instance) Mount(st *store.Store, upper, work string) error {
	for try := 0; ; try++ {
		err := in.mount(st, upper, work)
		if err == nil || try == 2 || !errors.Is(err, fs.ErrNotExist) {
			return err
		} // gc may have made the image's packs anew between the look at their list and the mount
	}
}

func (in *Instance) mount(st *store.Store, upper, work string) error {
	target := in.Rootfs()
	if err := os.Mkdir(target, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	file, err := in.image.TreePath()
	if err != nil {
		return err
	}
	packs, err := MountPacks(in.mounter, st, in.image)
	if err != nil {
		return err
	}
	small, err := smallPacks(st, in.image)
	if err != nil {
		return err
	}
	key := in.image.Digest.Encoded()
	mt := rootfs.Mount{
		Tree: rootfs.Tree{
			Key: key, File: file, Stubs: filepath.Join(st.Dir(), "stubs", key),
			// Packs that were fetched come first: the image is over those alone, and what a cut left among
			// the objects must not hide what they have.
			Data: append(packs, st.Objects().Path()), Small: small,
		},
		Target: target, Upper: upper, Work: work,
	}
	if _, err := in.mounter.Mount(mt); err != nil {
		return err
	}
	in.mounts = append(in.mounts, target)
	return nil
}

// WriteMemory mounts a file system in memory of that many bytes, for what the container writes. It has
// no more inodes than files of a page have room: those take memory, too, that its size does not count.
func (in *Instance) WriteMemory(limit int64) (upper, work string, err error) {
	dir := filepath.Join(in.Dir, WriteDir)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
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

// Upper is the directory of what the container wrote to memory.
func (in *Instance) Upper() string { return filepath.Join(in.Dir, WriteDir, "upper") }

// Etc is the directory of files that the container has from us, and may write to: what it writes counts as the rest.
func (in *Instance) Etc() string { return filepath.Join(in.Dir, WriteDir, "etc") }

// WriteSpec writes the bundle's config.json.
func (in *Instance) WriteSpec(spec *specs.Spec) error {
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(in.Dir, specFile), text, 0o600)
}

// Remove takes the container's place back: its mounts, its directory, its hold on the image.
func (in *Instance) Remove() error {
	var errs []error
	for i := len(in.mounts) - 1; i >= 0; i-- {
		err := unix.Unmount(in.mounts[i], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: nothing is mounted there any more
			errs = append(errs, &fs.PathError{Op: "unmount", Path: in.mounts[i], Err: err})
		}
	}
	if len(errs) == 0 { // never remove through a mount
		errs = append(errs, os.RemoveAll(in.Dir))
	}
	if in.own != nil {
		in.own.Close()
	}
	if in.use != nil {
		errs = append(errs, in.use.Close())
	}
	if in.image != nil {
		errs = append(errs, Release(in.mounter, in.image))
	}
	return errors.Join(errs...)
}

// Clear takes away the mounts that are made in an instance's directory, then the directory.
func Clear(dir string) error {
	for _, name := range []string{rootfsDir, WriteDir} {
		at := filepath.Join(dir, name)
		err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return &fs.PathError{Op: "unmount", Path: at, Err: err}
		}
	}
	return os.RemoveAll(dir)
}

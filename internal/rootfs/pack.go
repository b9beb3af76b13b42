package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Pack mounts a pack of objects, once for all containers, and returns the directory of objects in it. The
// kernel decompresses into pages that all of them share.
func (m *Mounter) Pack(key, file string) (string, error) {
	at := filepath.Join(m.Run, "packs", key)
	for _, dir := range []string{filepath.Join(m.Run, "trees"), at} { // lock is on the first
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", err
		}
	}
	unlock, err := m.lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	if is, err := isErofs(at); err != nil || is {
		return at, err
	}
	err = mountFile(file, at)
	if err != nil {
		if lerr := mountLoop(file, at); lerr != nil {
			return "", fmt.Errorf("mount pack: this kernel mounts no EROFS (%w; %w)", err, lerr)
		}
	}
	return at, nil
}

// ReleasePack unmounts a pack. Overlay mounts hold what is below them.
func (m *Mounter) ReleasePack(key string) error {
	at := filepath.Join(m.Run, "packs", key)
	err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "unmount", Path: at, Err: err}
	}
	_ = os.Remove(at)
	return nil
}

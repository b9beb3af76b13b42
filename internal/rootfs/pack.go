package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Pack mounts a pack of objects, once for all containers, and returns the directory of objects in it. The
// kernel decompresses into pages that all of them share.
func (m *Mounter) Pack(key, file string) (string, error) {
	at := filepath.Join(m.Run, "packs", key)
	if err := os.MkdirAll(at, 0o700); err != nil {
		return "", err
	}
	unlock, err := m.lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	return at, mountPack(file, at)
}

func mountPack(file, at string) error {
	if is, err := isErofs(at); err != nil || is {
		return err
	}
	err := mountFile(file, at)
	if errors.Is(err, fs.ErrNotExist) { // no fault of the kernel's
		return fmt.Errorf("pack %s: %w", file, fs.ErrNotExist)
	}
	if err != nil {
		if lerr := mountLoop(file, at); lerr != nil {
			return fmt.Errorf("mount pack: this kernel mounts no EROFS (%w; %w)", err, lerr)
		}
	}
	return nil
}

// ReleasePack unmounts a pack that no overlay is made of: another image may have the same one.
func (m *Mounter) ReleasePack(key string) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	at := filepath.Join(m.Run, "packs", key)
	used, err := overlays()
	if err != nil || uses(used, at) {
		return err
	}
	return unmount(at)
}

package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// small mounts the packs of small files, each once for all containers, and returns all directories of objects. The
// caller has the lock.
func (m *Mounter) small(t Tree) ([]string, error) {
	all := t.Data
	for _, p := range t.Small {
		dir := filepath.Join(m.Run, smallDir, p.Key)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		if err := mountPack(p.File, dir); err != nil {
			return nil, err
		}
		all = append(all[:len(all):len(all)], dir)
	}
	return all, nil
}

const smallDir = "small"

// PackDirs is where packs would be mounted, whichever kind they are.
func (m *Mounter) PackDirs(key string) []string {
	return []string{filepath.Join(m.Run, "packs", key), filepath.Join(m.Run, smallDir, key)}
}

// sweepSmall unmounts the packs of small files that no overlay is made of. Mounted a second time a pack would
// share no page with the first, so one that is in use stays. The caller has the lock.
func (m *Mounter) sweepSmall() error {
	dir := filepath.Join(m.Run, smallDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	used, err := overlays()
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if at := filepath.Join(dir, e.Name()); !uses(used, at) {
			errs = append(errs, unmount(at))
		}
	}
	return errors.Join(errs...)
}

// uses tells whether one of the overlays is made of a directory.
func uses(overlays, at string) bool {
	if strings.ContainsAny(at, " \t\n\\,:") { // which mountinfo writes in another way
		at = filepath.Join("/", filepath.Base(filepath.Dir(at)), filepath.Base(at))
	}
	return strings.Contains(overlays, at)
}

// overlays is the lines of mountinfo that are overlays (proc(5)); their options tell the directories below.
func overlays() (string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("list mounts: %w", err)
	}
	var all strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, " - overlay ") {
			all.WriteString(line)
		}
	}
	return all.String(), nil
}

package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"tare.dev/tare/test/rootfs"
	"tare.dev/tare/test/vm/suite"
)

// bootModules are loaded before there is a disk; modprobe finds every other. ext4 asks for crc32c by name,
// which modules.dep does not know.
var bootModules = []string{"virtio_pci", "virtio_blk", "virtio_console", "crc32c_generic", "ext4"}

// writeInitrd writes the initial memory file system: the guest program and the modules of the disk.
func writeInitrd(path string, kernel Kernel, guest string) error {
	program, err := os.ReadFile(guest)
	if err != nil {
		return err
	}
	files := []cpioFile{{"init", modeFile, program}, {"modules", modeDir, nil}}
	modules, err := kernel.Closure(bootModules...)
	if err != nil {
		return err
	}
	for i, name := range modules {
		data, err := os.ReadFile(filepath.Join(kernel.Modules, name))
		if err != nil {
			return err
		}
		// The guest inserts them in the order of their names.
		files = append(files, cpioFile{fmt.Sprintf("modules/%02d-%s", i, filepath.Base(name)), modeFile, data})
	}
	var archive bytes.Buffer
	if err := writeCPIO(&archive, files); err != nil {
		return err
	}
	return os.WriteFile(path, archive.Bytes(), 0o644)
}

// baseDisk makes the machine's root disk, once for each kernel and tree: the platform's tree with the
// kernel's modules, and if that is a whole Debian, the same again below /srv/system for the tests of
// system containers.
func baseDisk(ctx context.Context, cache string, p Platform, kernel Kernel) (string, error) {
	archive, err := p.tree().Archive(ctx, filepath.Join(cache, "rootfs"))
	if err != nil {
		return "", err
	}
	tree := strings.TrimSuffix(filepath.Base(archive), ".tar")
	image := filepath.Join(cache, "vm", fmt.Sprintf("%s-%s.img", tree, kernel.Version))
	if _, err := os.Stat(image); err == nil {
		return image, nil
	}
	staging := filepath.Join(cache, "vm", "staging")
	if err := os.RemoveAll(staging); err != nil {
		return "", err
	}
	defer os.RemoveAll(staging)
	dirs := []string{staging}
	if p.native() {
		dirs = append(dirs, filepath.Join(staging, "srv/system"))
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return "", err
		}
		if err := rootfs.Extract(ctx, archive, dir); err != nil {
			return "", err
		}
	}
	modules := filepath.Join(staging, "lib/modules", kernel.Version)
	err = errors.Join(
		os.Mkdir(filepath.Join(staging, "vm"), 0o755),
		os.MkdirAll(filepath.Dir(modules), 0o755),
		os.CopyFS(modules, os.DirFS(kernel.Modules)),
	)
	if err != nil {
		return "", err
	}
	return image, makeExt4(ctx, staging, image, 2048)
}

// makeExt4 makes a sparse ext4 image of the given MiB from a directory, without mounting it.
func makeExt4(ctx context.Context, dir, image string, size int) error {
	part := image + ".part"
	defer os.Remove(part)
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	out, err := command(ctx, "", "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1",
		"-d", dir, part, fmt.Sprintf("%dM", size))
	if err != nil {
		return fmt.Errorf("mke2fs -d %s: %w\n%s", dir, err, out)
	}
	return os.Rename(part, image)
}

// suiteDisk makes the disk that the guest mounts on /vm: the guest itself, the programs, the list of
// suites, and the source tree, in which the tests find their testdata.
func suiteDisk(ctx context.Context, root, dir string, suites []suite.Suite) (string, error) {
	list, err := json.MarshalIndent(suites, "", "\t")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(suite.File)), list, 0o644); err != nil {
		return "", err
	}
	if err := copySources(ctx, root, filepath.Join(dir, "src")); err != nil {
		return "", err
	}
	image := dir + ".img"
	return image, makeExt4(ctx, dir, image, 2048)
}

// copySources copies the files that belong to the tree, committed or not.
func copySources(ctx context.Context, root, to string) error {
	out, err := command(ctx, root, "git", "ls-files", "-co", "--exclude-standard", "-z")
	if err != nil {
		return fmt.Errorf("git ls-files: %w\n%s", err, out)
	}
	for name := range strings.SplitSeq(strings.TrimRight(out, "\x00"), "\x00") {
		from := filepath.Join(root, name)
		info, err := os.Stat(from)
		if errors.Is(err, os.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			continue // removed and not yet committed, or a link to a directory
		}
		if err != nil {
			return err
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, data, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A Kernel is an unpacked kernel package.
type Kernel struct {
	Image   string // the bootable file
	Version string // as uname -r
	Modules string // the directory lib/modules/VERSION
}

// moduleTrees are the parts of the package that a container, a disk or a test can need; all of it
// would be 390 MB.
var moduleTrees = []string{
	"arch", "block", "crypto", "fs", "lib", "mm", "net",
	"drivers/block", "drivers/md", "drivers/net/dummy.ko", "drivers/net/ifb.ko", "drivers/net/macvlan.ko",
	"drivers/net/tun.ko", "drivers/net/veth.ko", "drivers/virtio",
}

// DebianKernel fetches Debian's kernel package from this machine's package sources and unpacks it
// below cache, once.
func DebianKernel(ctx context.Context, cache string) (Kernel, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Kernel{}, err
	}
	dir := filepath.Join(cache, "kernel")
	if kernel, err := openKernel(dir); err == nil {
		return kernel, nil
	}
	pkg, err := kernelPackage(ctx, cache)
	if err != nil {
		return Kernel{}, err
	}
	defer os.Remove(pkg)
	part := dir + ".part"
	if err := errors.Join(os.RemoveAll(part), os.Mkdir(part, 0o755)); err != nil {
		return Kernel{}, err
	}
	defer os.RemoveAll(part)
	if err := unpackKernel(ctx, pkg, part); err != nil {
		return Kernel{}, err
	}
	kernel, err := openKernel(part)
	if err != nil {
		return Kernel{}, err
	}
	if out, err := command(ctx, "", "depmod", "-b", part, kernel.Version); err != nil {
		return Kernel{}, fmt.Errorf("depmod: %w\n%s", err, out)
	}
	if err := errors.Join(os.RemoveAll(dir), os.Rename(part, dir)); err != nil {
		return Kernel{}, err
	}
	return openKernel(dir)
}

func openKernel(dir string) (Kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return Kernel{}, fmt.Errorf("%s: want one kernel, have %q", dir, images)
	}
	version := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	return Kernel{images[0], version, filepath.Join(dir, "lib/modules", version)}, nil
}

// kernelPackage downloads what the package linux-image-amd64 stands for at present.
func kernelPackage(ctx context.Context, dir string) (string, error) {
	const meta = "linux-image-amd64"
	out, err := command(ctx, "", "apt-cache", "depends", meta)
	if err != nil {
		return "", fmt.Errorf("apt-cache depends %s: %w\n%s", meta, err, out)
	}
	name := ""
	for line := range strings.Lines(out) {
		if dep, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok && strings.HasPrefix(dep, "linux-image-") {
			name = dep
		}
	}
	if name == "" {
		return "", fmt.Errorf("apt-cache depends %s: names no kernel; run apt-get update", meta)
	}
	// The sandboxed user of apt cannot write here; the package is verified all the same.
	out, err = command(ctx, dir, "apt-get", "-q", "-o", "APT::Sandbox::User=", "-o", "Acquire::Retries=3", "download", name)
	if err != nil {
		return "", fmt.Errorf("apt-get download %s: %w\n%s", name, err, out)
	}
	found, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("apt-get download %s: left no package", name)
	}
	return found[len(found)-1], nil
}

func unpackKernel(ctx context.Context, pkg, dir string) error {
	args := []string{"-x", "-C", dir, "--wildcards", "./boot/vmlinuz-*", "./lib/modules/*/modules.*"}
	for _, tree := range moduleTrees {
		args = append(args, "./lib/modules/*/kernel/"+tree)
	}
	unpack := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", pkg)
	extract := exec.CommandContext(ctx, "tar", args...)
	pipe, err := unpack.StdoutPipe()
	if err != nil {
		return err
	}
	extract.Stdin = pipe
	var message strings.Builder
	extract.Stderr, unpack.Stderr = &message, &message
	if err := unpack.Start(); err != nil {
		return err
	}
	if err := errors.Join(extract.Run(), unpack.Wait()); err != nil {
		return fmt.Errorf("unpack %s: %w\n%s", pkg, err, message.String())
	}
	return nil
}

// Closure returns the files of the named modules and of all they need, in an order in which they can
// be inserted. What is built into the kernel needs no file.
func (k Kernel) Closure(names ...string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(k.Modules, "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(k.Modules, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	return closure(string(text), string(builtin), names)
}

// closure reads modules.dep(5): "file: what it needs, nearest first".
func closure(dep, builtin string, names []string) ([]string, error) {
	needs := map[string][]string{}
	for line := range strings.Lines(dep) {
		file, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		needs[moduleName(file)] = append([]string{file}, strings.Fields(rest)...)
	}
	var order []string
	for _, name := range names {
		files, ok := needs[moduleName(name)]
		if !ok && strings.Contains(builtin, "/"+name+".ko") {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("modules.dep: no module %s", name)
		}
		for _, file := range slices.Backward(files) {
			if !slices.Contains(order, file) {
				order = append(order, file)
			}
		}
	}
	return order, nil
}

// moduleName is a module's name as the kernel has it, whatever its file is called.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}

// command runs a program and returns all it says.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

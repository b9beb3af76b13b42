package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"tare.dev/tare/test/rootfs"
)

// A Kernel is an unpacked kernel package.
type Kernel struct {
	Image   string // the bootable file
	Version string // as uname -r
	Modules string // the directory lib/modules/VERSION
}

// unpackKernel is run with the tree's place as $1 and the name of the package that stands for the
// newest kernel as $2. Of 390 MB it leaves the modules that a container, a disk or a test can need.
const unpackKernel = `set -e; cd "$1"; export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
name=$(apt-cache depends "$2" | sed -n 's/.*Depends: \(linux-image-[^ ]*\)$/\1/p')
apt-get -qq -o APT::Sandbox::User= -o Acquire::Retries=3 download "$name"
dpkg-deb -x linux-image-*.deb .
rm -rf linux-image-*.deb usr boot/System.map-*
cd lib/modules/*
rm -rf kernel/sound
find kernel/drivers -name '*.ko*' ! -path '*/block/*' ! -path '*/md/*' ! -path '*/virtio/*' \
	! -path '*/char/virtio_console.ko*' ! -path '*/net/dummy.ko*' ! -path '*/net/ifb.ko*' \
	! -path '*/net/macvlan.ko*' ! -path '*/net/tun.ko*' ! -path '*/net/veth.ko*' -delete
depmod -b "$1" "${PWD##*/}"`

// DebianKernel fetches the platform's kernel package from this machine's package sources and unpacks
// it below cache, once.
func DebianKernel(ctx context.Context, cache string, p Platform) (Kernel, error) {
	tree := rootfs.Debian{
		Name: "kernel-" + p.Name, Arch: p.Debian, Release: p.Release,
		Changes: []string{"set -- \"$1\" " + p.Kernel + "\n" + unpackKernel},
	}
	dir, err := tree.Unpack(ctx, cache)
	if err != nil {
		return Kernel{}, err
	}
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return Kernel{}, fmt.Errorf("%s: want one kernel, have %q", dir, images)
	}
	version := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	return Kernel{images[0], version, filepath.Join(dir, "lib/modules", version)}, nil
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

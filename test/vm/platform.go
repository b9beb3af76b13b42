package vm

import "tare.dev/tare/test/rootfs"

// A Platform is a CPU with a kernel of Debian's for it.
type Platform struct {
	Name    string // of the subtest, of files, and in testdata/skips.txt
	Debian  string // the CPU in Debian's words
	GOARCH  string
	Kernel  string // the package that stands for the newest kernel
	Release string // of Debian, whence the kernel is; empty for this machine's own

	qemu    []string // the program and what makes it such a machine, without an accelerator
	cpu     string   // to emulate
	console string   // the kernel's name of the serial line
}

// Platforms returns all of them. The first ones are part of every run.
func Platforms() []Platform {
	pc := []string{"qemu-system-x86_64", "-M", "q35"}
	return []Platform{
		{
			Name: "amd64", Debian: "amd64", GOARCH: "amd64", Kernel: "linux-image-amd64",
			qemu: pc, cpu: "max", console: "ttyS0",
		},
		{
			// Signing pointers, which the newest CPUs do, is slow to emulate.
			Name: "arm64", Debian: "arm64", GOARCH: "arm64", Kernel: "linux-image-arm64",
			qemu: []string{"qemu-system-aarch64", "-M", "virt"}, cpu: "cortex-a72", console: "ttyAMA0",
		},
		{
			Name: "armhf", Debian: "armhf", GOARCH: "arm", Kernel: "linux-image-armmp-lpae",
			qemu: []string{"qemu-system-arm", "-M", "virt"}, cpu: "cortex-a15", console: "ttyAMA0",
		},
		{
			Name: "amd64-5.10", Debian: "amd64", GOARCH: "amd64", Kernel: "linux-image-amd64", Release: "bullseye",
			qemu: pc, cpu: "max", console: "ttyS0",
		},
	}
}

// native says whether the disk can be a Debian whose packages are configured: their scripts run here.
func (p Platform) native() bool { return p.Debian == "amd64" }

// tree is what the root disk holds besides the kernel's modules.
func (p Platform) tree() rootfs.Debian {
	if p.native() {
		return rootfs.System()
	}
	return rootfs.Debian{
		Name: "guest-" + p.Debian, Arch: p.Debian,
		Packages: []string{
			"base-files", "base-passwd", "dash", "coreutils", "util-linux", "mount", "procps", "iproute2", "kmod", "uidmap",
			"sed", "busybox-static", "crun",
		},
		// What the scripts of base-passwd, passwd and dash would do.
		Changes: []string{`cd "$1" && cp usr/share/base-passwd/passwd.master etc/passwd &&
cp usr/share/base-passwd/group.master etc/group && touch etc/subuid etc/subgid && ln -sf dash bin/sh &&
mkdir -p var/tmp proc sys run dev tmp root srv && chmod 1777 tmp var/tmp`},
	}
}

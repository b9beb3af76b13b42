package object

import (
	"errors"
	"io/fs"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctlEnableVerity is FS_IOC_ENABLE_VERITY (linux/fsverity.h), which x/sys lacks.
const ioctlEnableVerity = 0x40806685

// probeVerity tells whether the file system of fd has fs-verity switched on (mkfs.ext4 -O verity; Linux
// 5.4). Then a damaged block of an object is an I/O error for whoever reads it, and never bad bytes.
func probeVerity(fd int) bool {
	var digest struct {
		algorithm, size uint16
		bytes           [64]byte
	}
	digest.size = 64
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.FS_IOC_MEASURE_VERITY, uintptr(unsafe.Pointer(&digest)))
	return errno == unix.ENODATA // there is such a thing, and this file has none yet
}

// seal has the kernel verify an object from now on. It writes 1/128 of the object's size, and takes the
// right to change it from everybody.
func (d *Dir) seal(digest Digest) error {
	fd, err := unix.Openat(d.fd, digest.Path(), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return d.fail("open", digest, err)
	}
	defer unix.Close(fd)
	arg := unix.FsverityEnableArg{Version: 1, Hash_algorithm: unix.FS_VERITY_HASH_ALG_SHA256, Block_size: 4096}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlEnableVerity, uintptr(unsafe.Pointer(&arg)))
	switch {
	case errno == 0, errors.Is(errno, unix.EEXIST): // another process did it
		return nil
	case errors.Is(errno, unix.ETXTBSY), errors.Is(errno, unix.EINVAL):
		return nil // another process is linking it and will; blocks of 4096 are not for this file system
	}
	return &fs.PathError{Op: "enable fs-verity of", Path: filepath.Join(d.path, digest.Path()), Err: errno}
}

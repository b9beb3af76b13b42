package rootfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mountLoop mounts an EROFS image through a loop device, which goes away with the mount.
func mountLoop(file, at string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	dev, err := attach(f)
	if err != nil {
		return fmt.Errorf("loop device for %s: %w", file, err)
	}
	defer dev.Close() // after the mount: LO_FLAGS_AUTOCLEAR
	const flags = unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID
	if err := unix.Mount(dev.Name(), at, "erofs", flags, ""); err != nil {
		return fmt.Errorf("erofs %s on %s: %w", file, dev.Name(), err)
	}
	return nil
}

// attach finds a free loop device. Another process may take it first, so it tries again.
func attach(f *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for range 64 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		dev, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDONLY, 0)
		if err != nil {
			return nil, err
		}
		err = configure(dev, f)
		if err == nil {
			return dev, nil
		}
		dev.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, err
		}
	}
	return nil, unix.EBUSY
}

// configure needs Linux 5.8; the older pair of calls serves the rest. Direct I/O keeps the image
// from being cached a second time; a file system that has none goes without.
func configure(dev, f *os.File) error {
	const flags = unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR
	c := unix.LoopConfig{Fd: uint32(f.Fd()), Size: 4096}
	c.Info.Flags = flags | unix.LO_FLAGS_DIRECT_IO
	err := unix.IoctlLoopConfigure(int(dev.Fd()), &c)
	if err == nil || errors.Is(err, unix.EBUSY) {
		return err
	}
	if err := unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_SET_FD, int(f.Fd())); err != nil {
		return err
	}
	if err := unix.IoctlLoopSetStatus64(int(dev.Fd()), &unix.LoopInfo64{Flags: flags}); err != nil {
		_ = unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0)
		return err
	}
	_ = unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_SET_DIRECT_IO, 1)
	return nil
}

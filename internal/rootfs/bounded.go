package rootfs

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// bounded calls f without CAP_SYS_RESOURCE. Overlayfs writes to the upper layer with the rights of
// who mounted it, and with that one a file system lets it go beyond quotas and into the reserve of
// root, whatever the container may.
func bounded(f func() error) error {
	runtime.LockOSThread() // capabilities are a thread's
	defer runtime.UnlockOSThread()
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had [2]unix.CapUserData
	if err := unix.Capget(&h, &had[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	without := had
	without[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
	if err := unix.Capset(&h, &without[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	err := f()
	if again := unix.Capset(&h, &had[0]); again != nil {
		return errors.Join(err, fmt.Errorf("capset: %w", again))
	}
	return err
}

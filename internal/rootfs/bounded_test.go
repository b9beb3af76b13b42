package rootfs

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBoundedIsWithoutOneCapability(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_RESOURCE")
	}
	has := func() bool {
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&h, &data[0]); err != nil {
			t.Fatal(err)
		}
		return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if !has() {
		t.Skip("needs CAP_SYS_RESOURCE")
	}
	if err := bounded(func() error {
		if has() {
			t.Error("has CAP_SYS_RESOURCE within")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !has() {
		t.Error("has no CAP_SYS_RESOURCE afterwards")
	}
}

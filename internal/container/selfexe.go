package container

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ProtectProgram makes sure that a container which is told to execute
// /proc/self/exe, and so this program, cannot write to its file
// (CVE-2019-5736). If it could, the program executes itself again, from a
// read-only copy of its mount or, where the kernel or the user's rights do not
// allow that, from a sealed copy in memory. The entry code of package sysprog
// does the former before Go starts, so that there is nothing left to do. It is
// to be called before anything else is done.
func ProtectProgram() error {
	const self = "/proc/self/exe"
	if unix.Access(self, unix.W_OK) != nil || sealed(self) {
		return nil
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, self, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err == nil {
		if unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}) == nil {
			_ = execDescriptor(fd)
		}
		_ = unix.Close(fd)
	}
	if fd, err = sealedCopy(self); err != nil {
		return fmt.Errorf("protect the program's file: %w", err)
	}
	return fmt.Errorf("protect the program's file: %w", execDescriptor(fd))
}

// sealed tells whether path is a file in memory that nobody can change.
func sealed(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	return err == nil && seals&unix.F_SEAL_WRITE != 0
}

func sealedCopy(path string) (int, error) {
	in, err := os.Open(path)
	if err != nil {
		return -1, err
	}
	defer in.Close()
	const name, flags = "tare", unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // Linux < 6.3 does not know MFD_EXEC
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return -1, err
	}
	info, err := in.Stat()
	if err != nil {
		return -1, err
	}
	for left := int(info.Size()); left > 0; {
		n, err := unix.Sendfile(fd, int(in.Fd()), nil, left)
		if err != nil {
			return -1, fmt.Errorf("copy to memory: %w", err)
		}
		if n == 0 {
			return -1, fmt.Errorf("copy to memory: %w", unix.EIO)
		}
		left -= n
	}
	seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return -1, fmt.Errorf("seal: %w", err)
	}
	return fd, nil
}

// execDescriptor executes the program that fd is open on, with our own
// arguments and environment. It returns only if that fails.
func execDescriptor(fd int) error {
	argv, err := syscall.SlicePtrFromStrings(os.Args)
	if err != nil {
		return err
	}
	envp, err := syscall.SlicePtrFromStrings(os.Environ())
	if err != nil {
		return err
	}
	empty, err := unix.BytePtrFromString("")
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(empty)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envp[0])), unix.AT_EMPTY_PATH, 0)
	return errno
}

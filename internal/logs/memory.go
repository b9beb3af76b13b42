package logs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// seals keep a ring's file at its size: a page that is mapped cannot go away, which would be
// SIGBUS.
const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW

// makeMemory makes a file of zeros that has no name and takes memory only where it is written.
func makeMemory(size int64) (*os.File, error) {
	fd, err := unix.MemfdCreate("tare-log", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make memory for a log: %w", err)
	}
	f := os.NewFile(uintptr(fd), "tare-log")
	err = unix.Ftruncate(fd, size)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make memory for a log: %d bytes: %w", size, err)
	}
	return f, nil
}

// mapMemory maps the whole file.
func mapMemory(f *os.File) (mem []byte, err error) {
	err = withFd(f, func(fd int) error {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		if s, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err != nil || s&unix.F_SEAL_SHRINK == 0 {
			return fmt.Errorf("%w: no file of a ring", errDamaged)
		}
		if st.Size < MinBudget || st.Size > MaxBudget {
			return fmt.Errorf("%w: %d bytes", errDamaged, st.Size)
		}
		mem, err = unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("map memory of a log: %w", err)
	}
	return mem, nil
}

// punch gives back the memory of a range of the file, which reads as zeros from now on.
func punch(f *os.File, from, size int64) error {
	if size <= 0 {
		return nil
	}
	err := withFd(f, func(fd int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, size)
	})
	if err != nil {
		return fmt.Errorf("give back memory of a log: %w", err)
	}
	return nil
}

// withFd calls f with the descriptor. (*os.File).Fd would make it blocking.
func withFd(file *os.File, f func(fd int) error) error {
	c, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

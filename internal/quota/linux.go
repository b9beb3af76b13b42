package quota

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From linux/fs.h, linux/quota.h and linux/dqblk_xfs.h; see ioctl_xfs_fsgetxattr(2) and quotactl(2).
const (
	getAttributes = 0x801c581f // FS_IOC_FSGETXATTR
	setAttributes = 0x401c5820 // FS_IOC_FSSETXATTR
	inherit       = 0x200      // FS_XFLAG_PROJINHERIT

	project  = 2 // PRJQUOTA
	getQuota = 0x800007<<8 | project
	setQuota = 0x800008<<8 | project
	getState = 0x5808<<8 | project // Q_XGETQSTATV, which all file systems with quotas answer

	enforced    = 1 << 5 // FS_QUOTA_PDQ_ENFD
	blockLimits = 1      // QIF_BLIMITS
	unit        = 1024   // QIF_DQBLKSIZE
)

// fsxattr is struct fsxattr.
type fsxattr struct {
	Flags, ExtentSize, Extents, Project, CowExtentSize uint32
	_                                                  [8]byte
}

// dqblk is struct if_dqblk, with the padding of its end.
type dqblk struct {
	HardLimit, SoftLimit, Space            uint64
	InodeHardLimit, InodeSoftLimit, Inodes uint64
	BlockTime, InodeTime                   uint64
	Valid, _                               uint32
}

// statv begins as struct fs_quota_statv, and is longer.
type statv struct {
	Version int8
	_       byte
	Flags   uint16
	_       [252]byte
}

func attributes(f *os.File) (fsxattr, error) {
	var a fsxattr
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), getAttributes, uintptr(unsafe.Pointer(&a)))
	if errno != 0 {
		return a, none("get project", errno)
	}
	return a, nil
}

// setProject gives a directory a project that what is made in it will have, too.
func setProject(f *os.File, id uint32) error {
	a, err := attributes(f)
	if err != nil {
		return err
	}
	a.Project = id
	a.Flags |= inherit
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), setAttributes, uintptr(unsafe.Pointer(&a)))
	if errno != 0 {
		return none("set project", errno)
	}
	return nil
}

// none makes an ErrNone of the errors of file systems that know of no projects.
func none(op string, errno unix.Errno) error {
	switch errno {
	case unix.ENOTTY, unix.EOPNOTSUPP, unix.ENOSYS, unix.EINVAL, unix.ENOTBLK, unix.ENODEV, unix.ESRCH:
		return fmt.Errorf("%w (%s: %w)", ErrNone, op, errno)
	}
	return fmt.Errorf("%s: %w", op, errno)
}

// enforced fails where quotas are not there, or counted and not enforced: ext4 made with them and
// mounted without the option accepts limits and ignores them.
func (d *directory) enforced() error {
	s := statv{Version: 1}
	if errno := d.quotactl(getState, 0, unsafe.Pointer(&s)); errno != 0 {
		return none("get state of quotas", errno)
	}
	if s.Flags&enforced == 0 {
		return fmt.Errorf("%w (they are not enforced)", ErrNone)
	}
	return nil
}

func (d *directory) get(id uint32) (dqblk, error) {
	var q dqblk
	errno := d.quotactl(getQuota, id, unsafe.Pointer(&q))
	if errno == unix.ENOENT { // XFS has no record of a number that nobody uses
		return dqblk{}, nil
	}
	if errno != 0 {
		return q, none("get quota", errno)
	}
	return q, nil
}

func (d *directory) set(id uint32, bytes int64) error {
	q := dqblk{HardLimit: uint64(bytes+unit-1) / unit, Valid: blockLimits}
	if errno := d.quotactl(setQuota, id, unsafe.Pointer(&q)); errno != 0 {
		return none("set quota", errno)
	}
	return nil
}

// quotactl names the file system by its directory, or, before Linux 5.14, by its device.
func (d *directory) quotactl(cmd uintptr, id uint32, arg unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, d.Fd(), cmd, uintptr(id), uintptr(arg), 0, 0)
	if errno != unix.ENOSYS {
		return errno
	}
	name, err := d.device()
	if err != nil {
		return unix.ENOTBLK
	}
	special, err := unix.BytePtrFromString(name)
	if err != nil {
		return unix.EINVAL
	}
	_, _, errno = unix.Syscall6(unix.SYS_QUOTACTL, cmd, uintptr(unsafe.Pointer(special)), uintptr(id), uintptr(arg), 0, 0)
	return errno
}

// device is the path of the file system's block device.
func (d *directory) device() (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/uevent", unix.Major(d.dev), unix.Minor(d.dev)))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME="); ok {
			return "/dev/" + name, nil
		}
	}
	return "", errors.New("no DEVNAME")
}

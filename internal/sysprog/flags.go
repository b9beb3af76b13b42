package sysprog

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// format says how a number is shown: as the constants it is made of.
// The tables are constant data: nothing is set up when the program starts.
type format struct {
	kind formatKind
	list []flag
}

type formatKind uint8

const (
	asNumber formatKind = iota
	asOctal
	asDirFD
	asFlags
	asOneOf
)

type flag struct {
	bit  uint64
	name string
}

func (f format) show(v uint64) string {
	switch f.kind {
	case asOctal:
		return "0" + strconv.FormatUint(v, 8)
	case asDirFD:
		if int32(v) == unix.AT_FDCWD {
			return "AT_FDCWD"
		}
		return strconv.FormatInt(int64(v), 10)
	case asFlags:
		return f.join(v)
	case asOneOf:
		for _, x := range f.list {
			if x.bit == v {
				return x.name
			}
		}
	}
	if int64(v) < 4096 && int64(v) > -4096 {
		return strconv.FormatInt(int64(v), 10)
	}
	return "0x" + strconv.FormatUint(v, 16)
}

func (f format) join(v uint64) string {
	var s []string
	for _, x := range f.list {
		if v&x.bit == x.bit {
			s = append(s, x.name)
			v &^= x.bit
		}
	}
	if v != 0 || len(s) == 0 {
		s = append(s, format{}.show(v))
	}
	return strings.Join(s, "|")
}

var (
	openFlags = []flag{
		{unix.O_PATH, "O_PATH"},
		{unix.O_RDWR, "O_RDWR"},
		{unix.O_WRONLY, "O_WRONLY"},
		{unix.O_CREAT, "O_CREAT"},
		{unix.O_TRUNC, "O_TRUNC"},
		{unix.O_EXCL, "O_EXCL"},
		{unix.O_DIRECTORY, "O_DIRECTORY"},
		{unix.O_NOFOLLOW, "O_NOFOLLOW"},
		{unix.O_NOCTTY, "O_NOCTTY"},
		{unix.O_NONBLOCK, "O_NONBLOCK"},
		{unix.O_CLOEXEC, "O_CLOEXEC"},
	}
	mountFlags = []flag{
		{unix.MS_RDONLY, "MS_RDONLY"},
		{unix.MS_NOSUID, "MS_NOSUID"},
		{unix.MS_NODEV, "MS_NODEV"},
		{unix.MS_NOEXEC, "MS_NOEXEC"},
		{unix.MS_REMOUNT, "MS_REMOUNT"},
		{unix.MS_BIND, "MS_BIND"},
		{unix.MS_MOVE, "MS_MOVE"},
		{unix.MS_UNBINDABLE, "MS_UNBINDABLE"},
		{unix.MS_PRIVATE, "MS_PRIVATE"},
		{unix.MS_SLAVE, "MS_SLAVE"},
		{unix.MS_SHARED, "MS_SHARED"},
		{unix.MS_REC, "MS_REC"},
	}
	attrFlags = []flag{
		{unix.MOUNT_ATTR_RDONLY, "MOUNT_ATTR_RDONLY"},
		{unix.MOUNT_ATTR_NOSUID, "MOUNT_ATTR_NOSUID"},
		{unix.MOUNT_ATTR_NODEV, "MOUNT_ATTR_NODEV"},
		{unix.MOUNT_ATTR_NOEXEC, "MOUNT_ATTR_NOEXEC"},
		{unix.MOUNT_ATTR_NOATIME, "MOUNT_ATTR_NOATIME"},
		{unix.MOUNT_ATTR_STRICTATIME, "MOUNT_ATTR_STRICTATIME"},
		{unix.MOUNT_ATTR_NODIRATIME, "MOUNT_ATTR_NODIRATIME"},
		{unix.MOUNT_ATTR_NOSYMFOLLOW, "MOUNT_ATTR_NOSYMFOLLOW"},
	}
	cloneFlags = []flag{
		{unix.CLONE_PIDFD, "CLONE_PIDFD"},
		{unix.CLONE_CLEAR_SIGHAND, "CLONE_CLEAR_SIGHAND"},
		{unix.CLONE_INTO_CGROUP, "CLONE_INTO_CGROUP"},
		{unix.CLONE_NEWNS, "CLONE_NEWNS"},
		{unix.CLONE_NEWUTS, "CLONE_NEWUTS"},
		{unix.CLONE_NEWIPC, "CLONE_NEWIPC"},
		{unix.CLONE_NEWUSER, "CLONE_NEWUSER"},
		{unix.CLONE_NEWPID, "CLONE_NEWPID"},
		{unix.CLONE_NEWNET, "CLONE_NEWNET"},
		{unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"},
		{unix.CLONE_NEWTIME, "CLONE_NEWTIME"},
		{unix.CLONE_VM, "CLONE_VM"},
		{unix.CLONE_FILES, "CLONE_FILES"},
		{unix.CLONE_VFORK, "CLONE_VFORK"},
		{unix.CLONE_PARENT, "CLONE_PARENT"},
		{unix.CLONE_PARENT_SETTID, "CLONE_PARENT_SETTID"},
	}
	treeFlags = []flag{
		{unix.OPEN_TREE_CLONE, "OPEN_TREE_CLONE"},
		{unix.OPEN_TREE_CLOEXEC, "OPEN_TREE_CLOEXEC"},
		{unix.AT_RECURSIVE, "AT_RECURSIVE"},
		{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"},
		{unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
	}
	moveFlags = []flag{
		{unix.MOVE_MOUNT_F_EMPTY_PATH, "MOVE_MOUNT_F_EMPTY_PATH"},
		{unix.MOVE_MOUNT_T_EMPTY_PATH, "MOVE_MOUNT_T_EMPTY_PATH"},
	}
	fsconfigs = []flag{
		{unix.FSCONFIG_SET_FLAG, "FSCONFIG_SET_FLAG"},
		{unix.FSCONFIG_SET_STRING, "FSCONFIG_SET_STRING"},
		{unix.FSCONFIG_CMD_CREATE, "FSCONFIG_CMD_CREATE"},
	}
	prctls = []flag{
		{unix.PR_CAPBSET_DROP, "PR_CAPBSET_DROP"},
		{unix.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS"},
		{unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS"},
		{unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"},
		{unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"},
		{unix.PR_SET_NAME, "PR_SET_NAME"},
	}
)

// formatOf says how the arguments of a call are shown.
func formatOf(call string, i int) format {
	var l []format
	switch call {
	case "openat":
		l = []format{{kind: asDirFD}, {}, {asFlags, openFlags}, {kind: asOctal}}
	case "openat2":
		l = []format{{kind: asDirFD}}
	case "mkdirat":
		l = []format{{kind: asDirFD}, {}, {kind: asOctal}}
	case "mknodat":
		l = []format{{kind: asDirFD}, {}, {kind: asOctal}}
	case "fchmodat":
		l = []format{{kind: asDirFD}, {}, {kind: asOctal}}
	case "fchmod":
		l = []format{{}, {kind: asOctal}}
	case "fchownat":
		l = []format{{kind: asDirFD}}
	case "symlinkat":
		l = []format{{}, {kind: asDirFD}}
	case "unlinkat":
		l = []format{{kind: asDirFD}}
	case "readlinkat":
		l = []format{{kind: asDirFD}}
	case "faccessat":
		l = []format{{kind: asDirFD}}
	case "mount":
		l = []format{{}, {}, {}, {asFlags, mountFlags}}
	case "fsmount":
		l = []format{{}, {}, {asFlags, attrFlags}}
	case "fsconfig":
		l = []format{{}, {asOneOf, fsconfigs}}
	case "open_tree":
		l = []format{{kind: asDirFD}, {}, {asFlags, treeFlags}}
	case "move_mount":
		l = []format{{kind: asDirFD}, {}, {kind: asDirFD}, {}, {asFlags, moveFlags}}
	case "mount_setattr":
		l = []format{{kind: asDirFD}, {}, {asFlags, treeFlags}}
	case "clone":
		l = []format{{asFlags, cloneFlags}}
	case "unshare":
		l = []format{{asFlags, cloneFlags}}
	case "setns":
		l = []format{{}, {asFlags, cloneFlags}}
	case "prctl":
		l = []format{{asOneOf, prctls}}
	case "umask":
		l = []format{{kind: asOctal}}
	}
	if i < len(l) {
		return l[i]
	}
	return format{}
}

func errnoName(e unix.Errno) string {
	if s := unix.ErrnoName(e); s != "" {
		return s
	}
	return strconv.Itoa(int(e))
}

package sysprog

import "golang.org/x/sys/unix"

func numberHere(call string) (uintptr, bool) {
	switch call {
	case "fcntl": // the older one takes no lock of F_SETLK64
		return unix.SYS_FCNTL64, true
	case "setgroups":
		return unix.SYS_SETGROUPS32, true
	case "setresuid":
		return unix.SYS_SETRESUID32, true
	case "setresgid":
		return unix.SYS_SETRESGID32, true
	case "getuid":
		return unix.SYS_GETUID32, true
	}
	return 0, false
}

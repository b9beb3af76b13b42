//go:build amd64 || arm64 || riscv64

package sysprog

import "golang.org/x/sys/unix"

func numberHere(call string) (uintptr, bool) {
	switch call {
	case "fcntl":
		return unix.SYS_FCNTL, true
	case "setgroups":
		return unix.SYS_SETGROUPS, true
	case "setresuid":
		return unix.SYS_SETRESUID, true
	case "setresgid":
		return unix.SYS_SETRESGID, true
	case "getuid":
		return unix.SYS_GETUID, true
	}
	return 0, false
}

package sysprog

import "golang.org/x/sys/unix"

const enosys = uintptr(unix.ENOSYS)

// number returns the number of a call on this CPU. Calls that exist under one
// name everywhere stand here, the others in calls_GOARCH.go.
func number(call string) (uintptr, bool) {
	switch call {
	case Done:
		return nrDone, true
	case Goto:
		return nrGoto, true
	case Compare:
		return nrCompare, true
	case Status:
		return nrStatus, true
	case Raise:
		return nrRaise, true
	case Set:
		return nrSet, true
	}
	if nr, ok := numberHere(call); ok {
		return nr, true
	}
	for i := range common {
		if common[i].name == call {
			return common[i].nr, true
		}
	}
	return 0, false
}

// common is ordered by how often a start uses the call.
var common = [...]struct {
	name string
	nr   uintptr
}{
	{"prctl", unix.SYS_PRCTL},
	{"munmap", unix.SYS_MUNMAP},
	{"openat2", unix.SYS_OPENAT2},
	{"move_mount", unix.SYS_MOVE_MOUNT},
	{"openat", unix.SYS_OPENAT},
	{"write", unix.SYS_WRITE},
	{"close", unix.SYS_CLOSE},
	{"mknodat", unix.SYS_MKNODAT},
	{"fsconfig", unix.SYS_FSCONFIG},
	{"fsopen", unix.SYS_FSOPEN},
	{"fsmount", unix.SYS_FSMOUNT},
	{"open_tree", unix.SYS_OPEN_TREE},
	{"mount_setattr", unix.SYS_MOUNT_SETATTR},
	{"mount", unix.SYS_MOUNT},
	{"mkdirat", unix.SYS_MKDIRAT},
	{"statx", unix.SYS_STATX},
	{"pipe2", unix.SYS_PIPE2},
	{"symlinkat", unix.SYS_SYMLINKAT},
	{"fchmod", unix.SYS_FCHMOD},
	{"fchmodat", unix.SYS_FCHMODAT},
	{"fchownat", unix.SYS_FCHOWNAT},
	{"unlinkat", unix.SYS_UNLINKAT},
	{"bpf", unix.SYS_BPF},
	{"capset", unix.SYS_CAPSET},
	{"chdir", unix.SYS_CHDIR},
	{"chroot", unix.SYS_CHROOT},
	{"clone", unix.SYS_CLONE},
	{"clone3", unix.SYS_CLONE3},
	{"close_range", unix.SYS_CLOSE_RANGE},
	{"connect", unix.SYS_CONNECT},
	{"dup3", unix.SYS_DUP3},
	{"execve", unix.SYS_EXECVE},
	{"exit_group", unix.SYS_EXIT_GROUP},
	{"faccessat", unix.SYS_FACCESSAT},
	{"fchdir", unix.SYS_FCHDIR},
	{"flock", unix.SYS_FLOCK},
	{"fchown", unix.SYS_FCHOWN},
	{"fstatfs", unix.SYS_FSTATFS},
	{"getcwd", unix.SYS_GETCWD},
	{"getpid", unix.SYS_GETPID},
	{"ioctl", unix.SYS_IOCTL},
	{"ioprio_set", unix.SYS_IOPRIO_SET},
	{"keyctl", unix.SYS_KEYCTL},
	{"kill", unix.SYS_KILL},
	{"lseek", unix.SYS_LSEEK},
	{"memfd_create", unix.SYS_MEMFD_CREATE},
	{"personality", unix.SYS_PERSONALITY},
	{"pidfd_open", unix.SYS_PIDFD_OPEN},
	{"pidfd_send_signal", unix.SYS_PIDFD_SEND_SIGNAL},
	{"pivot_root", unix.SYS_PIVOT_ROOT},
	{"ppoll", unix.SYS_PPOLL},
	{"prlimit64", unix.SYS_PRLIMIT64},
	{"read", unix.SYS_READ},
	{"readlinkat", unix.SYS_READLINKAT},
	{"readv", unix.SYS_READV},
	{"rt_sigaction", unix.SYS_RT_SIGACTION},
	{"rt_sigprocmask", unix.SYS_RT_SIGPROCMASK},
	{"renameat2", unix.SYS_RENAMEAT2},
	{"rt_sigtimedwait", unix.SYS_RT_SIGTIMEDWAIT},
	{"sched_setaffinity", unix.SYS_SCHED_SETAFFINITY},
	{"sched_setattr", unix.SYS_SCHED_SETATTR},
	{"seccomp", unix.SYS_SECCOMP},
	{"sendmsg", unix.SYS_SENDMSG},
	{"sendto", unix.SYS_SENDTO},
	{"set_mempolicy", unix.SYS_SET_MEMPOLICY},
	{"setdomainname", unix.SYS_SETDOMAINNAME},
	{"sethostname", unix.SYS_SETHOSTNAME},
	{"setns", unix.SYS_SETNS},
	{"setpriority", unix.SYS_SETPRIORITY},
	{"setsid", unix.SYS_SETSID},
	{"signalfd4", unix.SYS_SIGNALFD4},
	{"socket", unix.SYS_SOCKET},
	{"umask", unix.SYS_UMASK},
	{"umount2", unix.SYS_UMOUNT2},
	{"unshare", unix.SYS_UNSHARE},
	{"wait4", unix.SYS_WAIT4},
	{"writev", unix.SYS_WRITEV},
}

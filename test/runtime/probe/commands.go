package main

import (
	"encoding/json"
	"sort"
)

// command is one thing the probe can try; args is the least number of arguments.
type command struct {
	args int
	run  func(args []string) (string, error)
}

func commands() map[string]command {
	return map[string]command{
		"report": {0, func([]string) (string, error) {
			out, err := json.Marshal(collect())
			return string(out), err
		}},
		// files
		"read": {1, read}, "write": {2, write}, "create": {2, create}, "mkdir": {1, mkdir},
		"stat": {1, stat}, "ls": {1, list}, "chmod": {2, chmod}, "chown": {2, chown},
		"unlink": {1, unlink}, "symlink": {2, symlink}, "link": {2, link}, "readlink": {1, readlink},
		"access": {1, access}, "exists": {1, exists}, "chdir": {1, chdir}, "chroot": {1, chroot},
		"openfd": {1, openfd},
		// privileged system calls
		"mknod": {4, mknod}, "mount": {4, mount}, "remount": {2, remount}, "bind": {2, bind},
		"umount": {1, umount}, "ptrace": {1, ptrace}, "unshare": {1, unshare}, "setns": {1, setns},
		"reboot": {1, reboot}, "sethostname": {1, sethostname}, "syscall": {1, rawSyscall},
		"setuid": {1, setuid}, "clock": {0, clock}, "listen": {1, listen}, "personality": {0, persona},
		"ptsname": {0, ptsname}, "sysv": {1, sysv}, "cpus": {0, cpus},
		// processes
		"sleep": {1, sleep}, "exit": {1, exit}, "echo": {0, echo}, "cat": {0, cat}, "wait-signal": {0, waitSignal},
		"kill": {2, kill}, "die": {1, die}, "alloc": {1, alloc}, "fork": {1, fork}, "spin": {1, spin},
		"orphan": {1, orphan}, "run": {1, run}, "exec": {1, execProgram}, "env": {1, env},
		"winsize": {0, winsize}, "tick": {1, tick}, "fill": {1, fill},
		// attacks
		"overwrite-exe": {1, overwriteExe}, "scan-fds": {1, scanFDs}, "attach-all": {1, attachAll},
	}
}

func names() []string {
	var n []string
	for k := range commands() {
		n = append(n, k)
	}
	sort.Strings(n)
	return n
}

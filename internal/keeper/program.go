package keeper

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// program is the file of an engine, or of us.
type program struct {
	fd   int    // open on it; -1: Options.Program
	path string // where it was; argv(0) of who executes it
}

var noProgram = program{fd: -1}

// file is the path to execute it by, whatever has its old one now.
func (p program) file() string { return "/proc/self/fd/" + strconv.Itoa(p.fd) }

// argv is args for the program.
func (p program) argv(args []string) []string {
	if p.fd < 0 || len(args) == 0 {
		return args
	}
	return append([]string{p.path}, args[1:]...)
}

func (p program) close() { closeAll([]int{p.fd}) }

// upgrade makes the file that fd is open on the program of the next engine.
func (k *keeper) upgrade(fd int, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return unix.EACCES
	}
	k.next.close()
	k.next, k.trial = program{fd, path}, false
	return nil
}

package container

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/program"
	"tare.dev/tare/internal/sysprog"
)

// CommandStatus is what a shell says of a start that failed because of the command: 127 where that was not found,
// 126 where it could not be executed (POSIX, "Exit Status for Commands"). It is 0 for every other failure.
func CommandStatus(err error) int {
	f, ok := errors.AsType[*sysprog.Failure](err)
	switch {
	case !ok || !strings.HasPrefix(f.Op.What, program.Executing):
		return 0
	case f.Errno == unix.ENOENT, f.Errno == 0: // in no directory of $PATH
		return 127
	}
	return 126
}

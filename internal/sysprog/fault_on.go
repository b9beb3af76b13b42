//go:build faultinject

package sysprog

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Faults tells that this is a build for tests, in which TARE_FAULT=N makes
// call N of every list, counted from 1, fail with EIO without being made, and
// TARE_KERNEL=5.4 makes calls that are younger than Linux 5.4 fail with ENOSYS.
const Faults = true

// fault tells whether op, the i-th of its list, is the one that is to fail.
// Pseudo calls do not count, nor does the one call that cannot fail.
func fault(ops []*Op, i int) (unix.Errno, bool) {
	if i == len(ops) || !real(ops[i]) {
		return 0, false
	}
	if tooNew(ops[i].Call) {
		return unix.ENOSYS, true
	}
	want, err := strconv.Atoi(os.Getenv("TARE_FAULT"))
	if err != nil {
		return 0, false
	}
	n := 0
	for _, op := range ops[:i+1] {
		if real(op) {
			n++
		}
	}
	return unix.EIO, n == want
}

func real(op *Op) bool {
	switch op.Call {
	case Done, Goto, Compare, Status, Raise, Set, "exit_group":
		return false
	}
	return true
}

// tooNew tells whether the kernel that the test asks for lacks call.
func tooNew(call string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(os.Getenv("TARE_KERNEL"), "%d.%d", &major, &minor); err != nil {
		return false
	}
	since := map[string][2]int{
		"pidfd_send_signal": {5, 1}, "open_tree": {5, 2}, "move_mount": {5, 2}, "fsopen": {5, 2}, "fsconfig": {5, 2}, "fsmount": {5, 2},
		"clone3": {5, 3}, "pidfd_open": {5, 3}, "openat2": {5, 6}, "close_range": {5, 9}, "mount_setattr": {5, 12},
	}[call]
	return major < since[0] || major == since[0] && minor < since[1]
}

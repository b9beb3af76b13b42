//go:build amd64 || arm64 || arm

package sysprog

import "golang.org/x/sys/unix"

// CanReplay tells whether this CPU has the entry code for stored programs.
const CanReplay = true

var entryAddress uintptr

// Entered tells whether this program is linked to start at the entry code, so
// that executing it again runs a stored program. The kernel says where it
// started us: AT_ENTRY, getauxval(3).
func Entered() bool {
	const atEntry = 9
	vector, err := unix.Auxv()
	if err != nil {
		return false
	}
	for _, v := range vector {
		if v[0] == atEntry {
			return v[1] == entryAddress
		}
	}
	return false
}

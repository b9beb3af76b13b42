//go:build !(amd64 || arm64 || arm)

package sysprog

// CanReplay tells whether this CPU has the entry code for stored programs.
const CanReplay = false

// Entered tells whether this program is linked to start at the entry code.
func Entered() bool { return false }

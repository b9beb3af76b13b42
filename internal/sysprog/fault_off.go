//go:build !faultinject

package sysprog

import "golang.org/x/sys/unix"

// Faults tells whether calls can be made to fail for a test: see fault_on.go.
const Faults = false

func fault([]*Op, int) (unix.Errno, bool) { return 0, false }

//go:build faultinject

package store

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// faults of a build for tests: TARE_NO_BARRIER=N,M leaves out the N-th and the M-th barrier of a
// process, counted from 1, so that a test of power cuts can show that it would find that.
type faults struct{ barriers int }

func (f *faults) leaveOut() bool {
	f.barriers++
	return slices.Contains(strings.Split(os.Getenv("TARE_NO_BARRIER"), ","), strconv.Itoa(f.barriers))
}

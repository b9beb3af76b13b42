//go:build !faultinject

package store

// faults are none in a program that is shipped: see fault_on.go.
type faults struct{}

func (*faults) leaveOut() bool { return false }

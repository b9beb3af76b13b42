// Package rosetta stands in for github.com/tonistiigi/go-rosetta, which tells whether a Mac translates this program.
package rosetta

// Enabled is false: this is Linux.
func Enabled() bool { return false }

//go:build cgo

package sysprog

// withC tells whether there may be a C library in the program.
const withC = true

// Package object is a directory of the contents of regular files, each once, under
// its SHA-256.
package object

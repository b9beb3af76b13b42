// Package blob is the bytes of one descriptor as a stream that is verified to its
// end and goes on where a connection broke.
package blob

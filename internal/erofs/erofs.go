// Package erofs writes and reads EROFS file systems that hold metadata alone: a
// regular file is its bytes when it is small, and a redirect to an object when not.
package erofs

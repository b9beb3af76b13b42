// Package object is a directory of the contents of regular files, each once, under
// its SHA-256.
//
// A name in the directory proves nothing by itself: after a power cut a file may bear
// its name and lack its bytes. Who knows that an object was made to last (an image that
// refers to it is committed) may trust it; everybody else has its bytes hashed again.
// When the objects are made to last is the caller's business: nothing here syncs.
package object

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// A Digest is the SHA-256 of an object's bytes.
type Digest [32]byte

// String is the digest in 64 lower-case hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Path is where the object is below the directory: "a/bcd…", 16 directories of it.
// A fan-out of 256 would cost 1 MB of directories on ext4 before the first object.
func (d Digest) Path() string {
	s := d.String()
	return s[:1] + "/" + s[1:]
}

// Redirect is the value of overlayfs's redirect attribute that leads to the object
// in a data-only layer: "/a/bcd…" (kernel, Documentation/filesystems/overlayfs.rst).
func (d Digest) Redirect() string { return "/" + d.Path() }

// Parse reads what String writes.
func Parse(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*len(d) || strings.ToLower(s) != s {
		return d, fmt.Errorf("object %q: not a SHA-256 in lower-case hexadecimal", s)
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return d, fmt.Errorf("object %q: not a SHA-256 in lower-case hexadecimal", s)
	}
	return d, nil
}

// ParseRedirect reads what Redirect writes.
func ParseRedirect(s string) (Digest, error) {
	if len(s) != 66 || s[0] != '/' || s[2] != '/' {
		return Digest{}, fmt.Errorf("redirect %q: not to an object", s)
	}
	return Parse(s[1:2] + s[3:])
}

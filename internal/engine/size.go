package engine

import (
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/instance"
)

// Size is what the container wrote to its own file system, and that with its image, in bytes.
func (c *Container) Size() (written, all int64) {
	upper := filepath.Join(c.e.dir(c.id), instance.WriteDir, "upper")
	_ = filepath.WalkDir(upper, func(path string, e fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && unix.Lstat(path, &st) == nil && e.Type().IsRegular() {
			written += st.Size
		}
		return nil // what has gone meanwhile takes nothing
	})
	return written, written
}

// ImageDigest is the digest of the image of a name.
func (e *Engine) ImageDigest(name string) (string, error) {
	i, _, err := findImage(e.store, name, "")
	if err != nil {
		return "", err
	}
	return i.Digest.String(), nil
}

// InNetwork tells whether a container is, or is to be, in a network of that name or id.
func InNetwork(v *View, network string) bool {
	for name, e := range v.apiNetworks() {
		if name == network || e != nil && network != "" && e.NetworkID == network {
			return true
		}
	}
	return string(v.Host.NetworkMode) == network
}

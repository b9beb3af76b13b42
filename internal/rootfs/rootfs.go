// Package rootfs mounts the tree of an image over its objects as the root file
// system of a container.
package rootfs

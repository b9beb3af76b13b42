// Package rootfs makes root filesystems for tests and for the demo from what Debian gives.
// A tree that it returns is whole: it is built beside its place and renamed into it.
// It needs root, and network only when a tree is not in its cache; it knows nothing of containers.
package rootfs

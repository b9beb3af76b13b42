// Package instance prepares the place of a container: bundle, root file system, writable layer, volumes.
package instance

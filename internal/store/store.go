// Package store is the images of a device: each a tree, a manifest and a config,
// over one directory of objects.
package store

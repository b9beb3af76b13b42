// Package layer unpacks the tar stream of a layer: metadata to a tree, contents to
// objects.
package layer

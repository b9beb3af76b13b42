// Package tree lays the layers of an image over each other, in order, into one
// file system of metadata.
package tree

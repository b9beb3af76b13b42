// Package reference is the name of an image: where it is, what it is called, and
// which one of that name.
package reference

// Package layout is images in files: OCI image layouts and archives, and what
// docker save writes.
package layout

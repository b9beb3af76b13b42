// Package rootfs mounts the tree of an image over its objects as the root file
// system of a container.
//
// The tree is a file system of metadata alone; overlayfs lays it over the directory of objects
// and finds each file's bytes there by its redirect attribute. So a file that many images have is one
// inode: once on flash, once in the page cache.
package rootfs

import (
	"errors"
	"fmt"
	"strings"
)

// A Layout is a way to mount a tree over objects. Which ways a kernel has is probed, never
// concluded from its version: vendors' kernels add and drop features.
type Layout struct {
	Tree string // "file", "loop" or "stubs"
	Data string // "only" or "lower"
}

// Ways to mount the metadata.
const (
	// TreeFile mounts the EROFS image from its file (Linux 6.12).
	TreeFile = "file"
	// TreeLoop mounts it through a loop device (Linux 5.15, for chunk-based files).
	TreeLoop = "loop"
	// TreeStubs is a directory of empty files of the right sizes, attributes and redirects, for
	// kernels without EROFS. It costs an inode a file.
	TreeStubs = "stubs"
)

// Ways to give overlayfs the objects.
const (
	// DataOnly is a data-only layer (Linux 6.5): nothing in it can be seen but through a redirect.
	DataOnly = "only"
	// DataLower is an ordinary lowest layer (Linux 4.19, for metacopy), whose directories a layer
	// of whiteouts above hides.
	DataLower = "lower"
)

// layouts is all of them, the best first.
func layouts() []Layout {
	return []Layout{
		{TreeFile, DataOnly},
		{TreeLoop, DataOnly},
		{TreeFile, DataLower},
		{TreeLoop, DataLower},
		{TreeStubs, DataOnly},
		{TreeStubs, DataLower},
	}
}

// String is "file+only" and the like.
func (l Layout) String() string { return l.Tree + "+" + l.Data }

// ParseLayout reads what String writes.
func ParseLayout(s string) (Layout, error) {
	for _, l := range layouts() {
		if l.String() == s {
			return l, nil
		}
	}
	var all []string
	for _, l := range layouts() {
		all = append(all, l.String())
	}
	return Layout{}, fmt.Errorf("layout %q: want one of %s", s, strings.Join(all, " "))
}

// ErrNoLayout is a kernel that has none of the layouts.
var ErrNoLayout = errors.New("this kernel can mount no tree: it lacks overlayfs with metacopy")

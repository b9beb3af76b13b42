package tree

import (
	"fmt"
	"strings"
)

// Marks of OCI image-spec, layer.md, "Whiteouts": a file of this prefix hides the rest of its name
// in the layers below; one of this name hides all of its directory there.
const (
	whiteout = ".wh."
	opaque   = ".wh..opq" // after the prefix
)

// whiteout hides a name, or all names, of the layers below. Where in its layer the mark stands makes
// no difference.
func (b *Builder) whiteout(path string, parent *dir, hidden string) error {
	switch hidden {
	case opaque:
		b.prune(parent)
		return nil
	case "", ".", "..":
		return fmt.Errorf("%s: a whiteout of nothing: %w", path, ErrPath)
	}
	if strings.HasPrefix(hidden, whiteout) {
		return nil // what aufs noted for itself
	}
	e, ok := parent.entries[hidden]
	if !ok {
		return nil
	}
	keep := e.layer == b.layer
	if sub := b.sub(e); sub != nil && b.prune(sub) {
		keep = true // this layer has put something into it
	}
	if !keep {
		delete(parent.entries, hidden)
	}
	return nil
}

// prune removes what layers below brought, and tells whether anything is left.
func (b *Builder) prune(d *dir) (left bool) {
	for name, e := range d.entries {
		keep := e.layer == b.layer
		if sub := b.sub(e); sub != nil && b.prune(sub) {
			keep = true
		}
		if !keep {
			delete(d.entries, name)
			continue
		}
		left = true
	}
	return left
}

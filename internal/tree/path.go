package tree

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
)

const (
	maxName = 255
	maxPath = 4096
	// maxLinks is how many symbolic links a path may lead through, as in path_resolution(7).
	maxLinks = 40
)

// place finds the directory a path is in, and its last part; "" for the root itself. Directories
// that lack are made, root's and 0755, as other unpackers do. Symbolic links on the way are followed
// inside the tree.
func (b *Builder) place(path string) (*dir, string, error) {
	parts, err := split(path)
	if err != nil {
		return nil, "", err
	}
	if len(parts) == 0 {
		return b.root, "", nil
	}
	if len(parts) > b.limits.Depth {
		return nil, "", fmt.Errorf("%.64s…: %d directories deep: %w", path, len(parts), ErrLimit)
	}
	links := 0
	d, err := b.walk(path, parts[:len(parts)-1], &links)
	return d, parts[len(parts)-1], err
}

// split cuts a path into its parts. ".." has no place in a layer.
func split(path string) ([]string, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("%.64s…: %d bytes: %w", path, len(path), ErrLimit)
	}
	if strings.IndexByte(path, 0) >= 0 {
		return nil, fmt.Errorf("%q: %w", path, ErrPath)
	}
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			return nil, fmt.Errorf("%s: %w", path, ErrPath)
		case len(part) > maxName:
			return nil, fmt.Errorf("%.64s…: a name of %d bytes: %w", path, len(part), ErrLimit)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// walk goes from the root through parts. stack is the way back for "..".
func (b *Builder) walk(path string, parts []string, links *int) (*dir, error) {
	stack := []*dir{b.root}
	for len(parts) > 0 {
		here, part := stack[len(stack)-1], parts[0]
		parts = parts[1:]
		if part == ".." { // only from the target of a symbolic link
			if len(stack) > 1 {
				stack = stack[:len(stack)-1]
			}
			continue
		}
		e, ok := here.entries[part]
		switch {
		case ok && e.kind == unix.S_IFDIR:
			stack = append(stack, b.sub(e))
		case ok && e.kind == unix.S_IFLNK:
			if *links++; *links > maxLinks {
				return nil, fmt.Errorf("%s: more than %d symbolic links: %w", path, maxLinks, ErrPath)
			}
			target := b.targets[e.at]
			if strings.HasPrefix(target, "/") {
				stack = stack[:1]
			}
			parts = append(linkParts(target), parts...)
		case ok:
			return nil, fmt.Errorf("%s: %s is not a directory: %w", path, part, ErrConflict)
		default:
			e := b.newDir(erofs.Inode{Mode: unix.S_IFDIR | 0o755})
			if err := b.put(path, here, part, e); err != nil {
				return nil, err
			}
			stack = append(stack, b.sub(e))
		}
		if len(stack) > b.limits.Depth {
			return nil, fmt.Errorf("%.64s…: %d directories deep: %w", path, len(stack), ErrLimit)
		}
	}
	return stack[len(stack)-1], nil
}

// linkParts cuts the target of a symbolic link, where ".." may stand.
func linkParts(target string) []string {
	var parts []string
	for part := range strings.SplitSeq(target, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

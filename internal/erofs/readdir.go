package erofs

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// ReadDir returns the entries of a directory sorted by name, without "." and "..". The types are
// those that the directory states.
func (im *Image) ReadDir(nid NID) ([]Entry, error) {
	l, err := im.readDir(nid)
	if err != nil {
		return nil, err
	}
	return l.entries, nil
}

// A listing is a directory as it is read.
type listing struct {
	self    NID
	parent  NID
	size    int64
	entries []Entry
	last    string // name of the last entry, with "." and ".."
	dots    int
}

func (im *Image) readDir(nid NID) (*listing, error) {
	n, err := im.node(nid)
	if err != nil {
		return nil, err
	}
	if fileType(n.Mode) != typeDir {
		return nil, fmt.Errorf("inode %d: %w", nid, unix.ENOTDIR)
	}
	l := &listing{self: nid, size: n.Size}
	var block [blockSize]byte
	for offset := int64(0); offset < n.Size; offset += blockSize {
		part := block[:min(blockSize, n.Size-offset)]
		if err := im.readData(n, part, offset); err != nil {
			return nil, fmt.Errorf("directory %d: %w", nid, err)
		}
		if err := l.addBlock(part); err != nil {
			return nil, fmt.Errorf("directory %d, block at %d: %w", nid, offset, err)
		}
	}
	if l.dots != 2 {
		return nil, fmt.Errorf("directory %d: without . and ..: %w", nid, ErrCorrupt)
	}
	return l, nil
}

// addBlock adds the entries of one block. The first one's name begins where the entries end.
func (l *listing) addBlock(block []byte) error {
	if len(block) < direntSize {
		return fmt.Errorf("%d bytes: %w", len(block), ErrCorrupt)
	}
	names := int(le.Uint16(block[8:]))
	if names%direntSize != 0 || names == 0 || names > len(block) {
		return fmt.Errorf("names at %d: %w", names, ErrCorrupt)
	}
	text := string(block[names:])
	for at := 0; at < names; at += direntSize {
		start, end := int(le.Uint16(block[at+8:]))-names, len(text)
		if at+direntSize < names {
			end = int(le.Uint16(block[at+direntSize+8:])) - names
		} else if start >= 0 && start <= end {
			// Only the last name of a block may end before its room does.
			if n := strings.IndexByte(text[start:], 0); n >= 0 {
				end = start + n
			}
		}
		if start < 0 || start >= end || end > len(text) {
			return fmt.Errorf("name from %d to %d: %w", start, end, ErrCorrupt)
		}
		if err := l.add(text[start:end], NID(le.Uint64(block[at:])), block[at+10]); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) add(name string, nid NID, kind byte) error {
	if name <= l.last {
		return fmt.Errorf("name %q after %q: %w", name, l.last, ErrCorrupt)
	}
	l.last = name
	entry := Entry{Name: name, NID: nid, Type: modeType(kind)}
	switch {
	case entry.Type == 0:
		return fmt.Errorf("%q: type %d: %w", name, kind, ErrCorrupt)
	case name == "." || name == "..":
		return l.addDot(entry)
	case !validName(name):
		return fmt.Errorf("name %q: %w", name, ErrCorrupt)
	}
	l.entries = append(l.entries, entry)
	return nil
}

func (l *listing) addDot(e Entry) error {
	if e.Type != unix.S_IFDIR || e.Name == "." && e.NID != l.self {
		return fmt.Errorf("%q is inode %d: %w", e.Name, e.NID, ErrCorrupt)
	}
	if e.Name == ".." {
		l.parent = e.NID
	}
	l.dots++
	return nil
}

// Lookup returns the inode at a path from the root, as "usr/bin/env" or "."; it follows no
// symbolic links. The error wraps unix.ENOENT for what is not there and unix.ENOTDIR as open(2).
func (im *Image) Lookup(name string) (NID, error) {
	nid := im.root
	for part := range strings.SplitSeq(path.Clean("/"+name), "/") {
		if part == "" {
			continue
		}
		entries, err := im.ReadDir(nid)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		i, ok := search(entries, part)
		if !ok {
			return 0, fmt.Errorf("%s: %w", name, unix.ENOENT)
		}
		nid = entries[i].NID
	}
	return nid, nil
}

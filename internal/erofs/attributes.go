package erofs

import (
	"bytes"
	"cmp"
	"fmt"

	"tare.dev/tare/internal/order"
)

// readXattrs reads the attributes of n, takes the redirect out of them and sorts them.
func (im *Image) readXattrs(n *node) error {
	if n.xattrSize == 0 {
		return nil
	}
	body := make([]byte, n.xattrSize)
	if err := im.read(body, n.xattrs); err != nil {
		return err
	}
	shared := int(body[4])
	if xattrHeaderSize+4*shared > len(body) {
		return fmt.Errorf("%d shared attributes in %d bytes: %w", shared, len(body), ErrCorrupt)
	}
	total := 0
	for i := range shared {
		id := int64(le.Uint32(body[xattrHeaderSize+4*i:]))
		size, err := im.readShared(n, im.xattr+id*4)
		if err != nil {
			return err
		}
		if total += size; total > maxXattrs {
			return fmt.Errorf("attributes of more than %d bytes: %w", maxXattrs, ErrCorrupt)
		}
	}
	for rest := body[xattrHeaderSize+4*shared:]; len(rest) > 0; {
		size, err := n.parseXattr(rest)
		if err != nil {
			return err
		}
		if total += size; total > maxXattrs {
			return fmt.Errorf("attributes of more than %d bytes: %w", maxXattrs, ErrCorrupt)
		}
		rest = rest[size:]
	}
	return n.sortXattrs()
}

// readShared adds the attribute at an offset to n and returns how long it is there.
func (im *Image) readShared(n *node, offset int64) (int, error) {
	head := im.head[:xattrEntrySize]
	if err := im.read(head, offset); err != nil {
		return 0, err
	}
	entry := make([]byte, xattrEntrySize+int(head[0])+int(le.Uint16(head[2:])))
	if err := im.read(entry, offset); err != nil {
		return 0, err
	}
	for len(entry)%4 != 0 {
		entry = append(entry, 0)
	}
	return n.parseXattr(entry)
}

// parseXattr adds the attribute that raw begins with to n and returns its length in raw.
func (n *node) parseXattr(raw []byte) (int, error) {
	nameEnd := xattrEntrySize + int(raw[0])
	valueEnd := nameEnd + int(le.Uint16(raw[2:]))
	size := align(valueEnd, 4)
	if size > len(raw) {
		return 0, fmt.Errorf("attribute of %d bytes in %d: %w", size, len(raw), ErrCorrupt)
	}
	rest := raw[xattrEntrySize:nameEnd]
	prefix := xattrPrefixName(raw[1])
	exact := raw[1] == indexACL || raw[1] == indexDefaultACL
	if prefix == "" || exact != (len(rest) == 0) || bytes.IndexByte(rest, 0) >= 0 {
		return 0, fmt.Errorf("attribute %q of kind %d: %w", rest, raw[1], ErrCorrupt)
	}
	n.Xattrs = append(n.Xattrs, Xattr{prefix + string(rest), bytes.Clone(raw[nameEnd:valueEnd])})
	return size, nil
}

// sortXattrs sorts the attributes by name and makes the two of a redirect the field.
func (n *node) sortXattrs() error {
	order.By(n.Xattrs, func(a, b Xattr) int { return cmp.Compare(a.Name, b.Name) })
	kept := n.Xattrs[:0]
	redirect, metacopy := false, false
	for i, x := range n.Xattrs {
		if i > 0 && x.Name == n.Xattrs[i-1].Name {
			return fmt.Errorf("attribute %s: there twice: %w", x.Name, ErrCorrupt)
		}
		switch x.Name {
		case xattrRedirect:
			redirect, n.Redirect = true, string(x.Value)
		case xattrMetacopy:
			if metacopy = true; len(x.Value) > 0 {
				return fmt.Errorf("attribute %s: %q: %w", x.Name, x.Value, ErrCorrupt)
			}
		default:
			kept = append(kept, x)
		}
	}
	n.Xattrs = kept
	if !redirect && !metacopy {
		return nil
	}
	if redirect != metacopy || fileType(n.Mode) != typeRegular || n.Size == 0 || !validRedirect(n.Redirect) {
		return fmt.Errorf("redirect to %q of mode %#o, %d bytes: %w", n.Redirect, n.Mode, n.Size, ErrCorrupt)
	}
	return nil
}

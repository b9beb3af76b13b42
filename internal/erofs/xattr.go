package erofs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

const (
	xattrHeaderSize = 12
	xattrEntrySize  = 4

	xattrRedirect = "trusted.overlay.redirect"
	xattrMetacopy = "trusted.overlay.metacopy"

	// What the format can count: the name after its beginning, the value, all attributes of an
	// inode inline, and the number of those elsewhere.
	maxXattrName   = 255
	maxXattrValue  = 1<<16 - 1
	maxXattrs      = (1<<16 - 2) * 4
	maxXattrShared = 255

	// The writer remembers this many short attributes to write each only once.
	sharedEntries   = 256
	sharedEntrySize = 128
)

// Numbers of what names begin with; of an ACL they are the whole name.
const (
	indexUser       = 1
	indexACL        = 2
	indexDefaultACL = 3
	indexTrusted    = 4
	indexSecurity   = 6
)

func xattrPrefixName(index byte) string {
	switch index {
	case indexUser:
		return "user."
	case indexACL:
		return "system.posix_acl_access"
	case indexDefaultACL:
		return "system.posix_acl_default"
	case indexTrusted:
		return "trusted."
	case indexSecurity:
		return "security."
	}
	return ""
}

// splitXattr returns how the format writes a name: the number of its beginning, and the rest.
func splitXattr(name string) (index byte, rest string, ok bool) {
	for index := byte(indexUser); index <= indexSecurity; index++ {
		prefix := xattrPrefixName(index)
		rest, ok := strings.CutPrefix(name, prefix)
		exact := index == indexACL || index == indexDefaultACL
		if ok && prefix != "" && exact == (rest == "") {
			return index, rest, true
		}
	}
	return 0, "", false
}

// xattrs encodes the attributes of one inode after another.
type xattrs struct {
	// shared has the places, in units of 4 bytes, of entries that later inodes may name instead
	// of having their own. The format puts no bound on where shared entries are, so the first
	// inode's own entry is the one that others share.
	shared map[string]uint32

	list   []Xattr
	path   []byte // the redirect
	size   int    // of all, as if none were shared
	ids    []uint32
	inline []byte
	starts []int  // in inline: all entries
	fresh  []span // in inline: entries worth sharing
}

type span struct{ start, end int }

// encode appends what stands between an inode and its inline data, for the inode n.
func (x *xattrs) encode(record []byte, n *Inode) ([]byte, error) {
	x.size, x.ids, x.inline, x.starts, x.fresh = 0, x.ids[:0], x.inline[:0], x.starts[:0], x.fresh[:0]
	if err := x.collect(n); err != nil {
		return nil, err
	}
	if len(x.list) == 0 {
		return record, nil
	}
	for i := range x.list {
		if err := x.add(&x.list[i]); err != nil {
			return nil, err
		}
	}
	if x.size > maxXattrs || 4*len(x.ids)+len(x.inline) > maxXattrs {
		return nil, fmt.Errorf("extended attributes of %d bytes: an inode has room for %d", x.size, maxXattrs)
	}
	record = x.appendHeader(record)
	for i := range x.fresh {
		x.fresh[i].start += len(record)
		x.fresh[i].end += len(record)
	}
	return append(record, x.inline...), nil
}

func (x *xattrs) appendHeader(record []byte) []byte {
	record = append(record, 0, 0, 0, 0, byte(len(x.ids)), 0, 0, 0, 0, 0, 0, 0)
	for _, id := range x.ids {
		record = le.AppendUint32(record, id)
	}
	return record
}

// shareAll appends what encode just did with all entries elsewhere in the image, where place
// puts them.
func (x *xattrs) shareAll(record []byte, place func([]byte) (int64, error)) ([]byte, error) {
	if n := len(x.ids) + len(x.starts); n > maxXattrShared {
		return nil, fmt.Errorf("%d extended attributes: the root has room for %d", n, maxXattrShared)
	}
	offset, err := place(x.inline)
	if err != nil {
		return nil, err
	}
	for _, start := range x.starts {
		x.ids = append(x.ids, uint32((offset+int64(start))/4))
	}
	x.fresh = x.fresh[:0]
	return x.appendHeader(record), nil
}

// collect sorts the attributes of n, with those of the redirect, into x.list.
func (x *xattrs) collect(n *Inode) error {
	x.list = append(x.list[:0], n.Xattrs...)
	for i := range n.Xattrs {
		if name := n.Xattrs[i].Name; name == xattrRedirect || name == xattrMetacopy {
			return fmt.Errorf("extended attribute %s: only a redirect has it", name)
		}
	}
	if n.Redirect != "" {
		x.path = append(x.path[:0], n.Redirect...)
		x.list = append(x.list, Xattr{xattrMetacopy, nil}, Xattr{xattrRedirect, x.path})
	}
	slices.SortFunc(x.list, func(a, b Xattr) int { return cmp.Compare(a.Name, b.Name) })
	for i := 1; i < len(x.list); i++ {
		if x.list[i].Name == x.list[i-1].Name {
			return fmt.Errorf("extended attribute %s: given twice", x.list[i].Name)
		}
	}
	return nil
}

// add encodes one attribute: as the place of an equal one, or in full.
func (x *xattrs) add(a *Xattr) error {
	index, rest, ok := splitXattr(a.Name)
	switch {
	case !ok || strings.ContainsRune(rest, 0):
		return fmt.Errorf("extended attribute %q: not a name that the format has", a.Name)
	case len(rest) > maxXattrName:
		return fmt.Errorf("extended attribute %q: longer than %d bytes", a.Name, maxXattrName)
	case len(a.Value) > maxXattrValue:
		return fmt.Errorf("extended attribute %s of %d bytes: above %d", a.Name, len(a.Value), maxXattrValue)
	}
	start := len(x.inline)
	x.inline = append(x.inline, byte(len(rest)), index, byte(len(a.Value)), byte(len(a.Value)>>8))
	x.inline = append(x.inline, rest...)
	x.inline = append(x.inline, a.Value...)
	for len(x.inline)%4 != 0 {
		x.inline = append(x.inline, 0)
	}
	entry := x.inline[start:]
	x.size += len(entry)
	if id, ok := x.shared[string(entry)]; ok && len(x.ids) < maxXattrShared {
		x.ids = append(x.ids, id)
		x.inline = x.inline[:start]
		return nil
	}
	x.starts = append(x.starts, start)
	// A redirect is seldom the same twice and would push out what is.
	if len(entry) <= sharedEntrySize && a.Name != xattrRedirect {
		x.fresh = append(x.fresh, span{start, len(x.inline)})
	}
	return nil
}

// placed remembers the entries of the record, which stands at offset in the image, for sharing.
func (x *xattrs) placed(record []byte, offset int64) {
	for _, s := range x.fresh {
		if len(x.shared) >= sharedEntries {
			return
		}
		if x.shared == nil {
			x.shared = map[string]uint32{}
		}
		x.shared[string(record[s.start:s.end])] = uint32((offset + int64(s.start)) / 4)
	}
}

// xattrCount is i_xattr_icount for size bytes of attributes.
func xattrCount(size int) uint16 {
	if size == 0 {
		return 0
	}
	return uint16((size-xattrHeaderSize)/4 + 1)
}

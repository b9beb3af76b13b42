// Package tree lays the layers of an image over each other, in order, into one
// file system of metadata.
//
// A file's metadata goes straight into the EROFS image under construction; what stays in
// memory is its name, its number and, of a symbolic link, the target, because the paths of
// later entries may lead through it. So a pull's memory grows by about 80 bytes for an
// entry, not with the size of an image.
//
// Paths cannot leave the tree: there is nothing but the tree they are looked up in.
package tree

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
)

// Limits are what an image may ask of us. A zero field has its default.
type Limits struct {
	Entries int // names in all layers together; 1,000,000
	Names   int // bytes of these names and of targets of symbolic links, which are in memory; 64 MiB
	Depth   int // directories above a file; 1,024
	Xattrs  int // bytes of names and values of one file's attributes; 64 KiB
}

func (l Limits) withDefaults() Limits {
	if l.Entries == 0 {
		l.Entries = 1_000_000
	}
	if l.Names == 0 {
		l.Names = 64 << 20
	}
	if l.Depth == 0 {
		l.Depth = 1024
	}
	if l.Xattrs == 0 {
		l.Xattrs = 64 << 10
	}
	return l
}

var (
	// ErrLimit is an image that asks for more than the limits.
	ErrLimit = errors.New("over the limit")
	// ErrConflict is an entry that contradicts one before it.
	ErrConflict = errors.New("conflicts with an entry before it")
	// ErrPath is a path that is none.
	ErrPath = errors.New("not a path in the image")
)

// A Builder takes layers from the lowest to the highest, and then Finish.
type Builder struct {
	w      *erofs.Writer
	limits Limits
	root   *dir
	layer  uint16
	count  int

	dirs    []*dir            // all but the root, by entry.at
	targets map[uint32]string // of symbolic links, by entry.at
	names   names
	bytes   int // of names and targets
}

// A dir is one under construction: its Entries are made of entries in the end.
type dir struct {
	erofs.Dir
	entries map[string]entry
}

// An entry is small because an image has many.
type entry struct {
	at   uint32 // the NID, which has 29 bits; of a directory, the place in Builder.dirs
	kind uint16 // S_IFMT bits
	// layer is the one that brought the name: a whiteout hides those of layers below its own.
	layer uint16
}

// NewBuilder returns a builder that writes the metadata image to f.
func NewBuilder(f io.WriterAt, limits Limits) *Builder {
	return &Builder{
		w:       erofs.NewWriter(f, erofs.Options{}),
		limits:  limits.withDefaults(),
		root:    &dir{Dir: erofs.Dir{Inode: erofs.Inode{Mode: unix.S_IFDIR | 0o755}}},
		targets: map[uint32]string{},
	}
}

// newDir returns the entry of a new directory of the present layer.
func (b *Builder) newDir(in erofs.Inode) entry {
	b.dirs = append(b.dirs, &dir{Dir: erofs.Dir{Inode: in}})
	return entry{at: uint32(len(b.dirs) - 1), kind: unix.S_IFDIR, layer: b.layer}
}

// sub is the directory of an entry; nil when it is none.
func (b *Builder) sub(e entry) *dir {
	if e.kind != unix.S_IFDIR {
		return nil
	}
	return b.dirs[e.at]
}

// NextLayer ends a layer: what follows lies over it.
func (b *Builder) NextLayer() { b.layer++ }

// Finish writes the directories. It returns the size of the metadata image in bytes.
func (b *Builder) Finish() (int64, error) { return b.w.Finish(b.export(b.root)) }

// export has each map become a list when it is written, and not before: all lists together would take as much again.
func (b *Builder) export(d *dir) *erofs.Dir {
	d.Lazy = func() []erofs.Entry {
		all := make([]erofs.Entry, 0, len(d.entries))
		for name, e := range d.entries {
			x := erofs.Entry{Name: name, NID: erofs.NID(e.at), Type: uint32(e.kind)}
			if sub := b.sub(e); sub != nil {
				x.NID, x.Dir = 0, &sub.Dir
				if sub.Lazy == nil {
					b.export(sub)
				}
			}
			all = append(all, x)
		}
		return all
	}
	return &d.Dir
}

// Add adds a file system object at a path relative to the root; a leading "/" or "./" is
// no matter. A directory that is there takes the new metadata and keeps what is in it.
// Names that begin with ".wh." are whiteouts (OCI image-spec, layer.md).
func (b *Builder) Add(path string, in erofs.Inode) error {
	parent, name, err := b.place(path)
	if err != nil {
		return err
	}
	if name == "" {
		return b.setRoot(path, in)
	}
	if hidden, ok := strings.CutPrefix(name, whiteout); ok {
		return b.whiteout(path, parent, hidden)
	}
	if err := b.check(path, &in); err != nil {
		return err
	}
	if in.Mode&unix.S_IFMT == unix.S_IFDIR {
		return b.addDir(path, parent, name, in)
	}
	if err := b.free(path, parent, name); err != nil {
		return err
	}
	nid, err := b.w.Add(&in)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	e := entry{at: uint32(nid), kind: uint16(in.Mode & unix.S_IFMT), layer: b.layer}
	if e.kind == unix.S_IFLNK {
		if err := b.remember(path, len(in.Data)); err != nil {
			return err
		}
		b.targets[e.at] = string(in.Data)
	}
	return b.put(path, parent, name, e)
}

// Link adds a further name for the file at target, which is there already. The target's last
// part is not followed when it is a symbolic link, as in link(2).
func (b *Builder) Link(path, target string) error {
	parent, name, err := b.place(path)
	if err != nil {
		return err
	}
	if name == "" || strings.HasPrefix(name, whiteout) {
		return fmt.Errorf("%s: hard link: %w", path, ErrPath)
	}
	from, last, err := b.place(target)
	if err != nil {
		return err
	}
	e, ok := from.entries[last]
	switch {
	case !ok:
		return fmt.Errorf("%s: hard link to %s, which is not there: %w", path, target, ErrConflict)
	case e.kind == unix.S_IFDIR:
		return fmt.Errorf("%s: hard link to the directory %s: %w", path, target, ErrConflict)
	}
	if old, ok := parent.entries[name]; ok && old.at == e.at && old.kind == e.kind {
		return nil // a link to itself
	}
	if err := b.free(path, parent, name); err != nil {
		return err
	}
	e.layer = b.layer
	return b.put(path, parent, name, e)
}

func (b *Builder) setRoot(path string, in erofs.Inode) error {
	if in.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("%q: the root is a directory: %w", path, ErrConflict)
	}
	if err := b.check(path, &in); err != nil {
		return err
	}
	b.root.Inode = in
	return nil
}

func (b *Builder) addDir(path string, parent *dir, name string, in erofs.Inode) error {
	old, ok := parent.entries[name]
	if ok && old.kind == unix.S_IFDIR {
		b.sub(old).Inode = in
		old.layer = b.layer
		parent.entries[name] = old
		return nil
	}
	if err := b.free(path, parent, name); err != nil {
		return err
	}
	return b.put(path, parent, name, b.newDir(in))
}

// free makes sure that the name may be given: in one layer it is given once. Readers that differ
// in which of two entries they see are an old attack, so the second is refused.
func (b *Builder) free(path string, parent *dir, name string) error {
	if old, ok := parent.entries[name]; ok && old.layer == b.layer {
		return fmt.Errorf("%s: twice in one layer: %w", path, ErrConflict)
	}
	return nil
}

func (b *Builder) put(path string, parent *dir, name string, e entry) error {
	if b.count++; b.count > b.limits.Entries {
		return fmt.Errorf("%s: more than %d entries: %w", path, b.limits.Entries, ErrLimit)
	}
	if err := b.remember(path, len(name)); err != nil {
		return err
	}
	if parent.entries == nil {
		parent.entries = map[string]entry{}
	}
	parent.entries[b.names.keep(name)] = e
	return nil
}

// remember accounts for n bytes of a name or a target.
func (b *Builder) remember(path string, n int) error {
	if b.bytes += n; b.bytes > b.limits.Names {
		return fmt.Errorf("%s: names and links of more than %d bytes: %w", path, b.limits.Names, ErrLimit)
	}
	return nil
}

// check refuses what overlayfs would take for its own and what is too much.
func (b *Builder) check(path string, in *erofs.Inode) error {
	if in.Mode&unix.S_IFMT == unix.S_IFCHR && in.Rdev == 0 {
		return fmt.Errorf("%s: character device 0:0, which means a whiteout: %w", path, ErrConflict)
	}
	size := 0
	for i, x := range in.Xattrs {
		size += len(x.Name) + len(x.Value)
		// What overlayfs keeps for itself is escaped, and it takes the escape off
		// (Linux 6.7; before that the name stays escaped).
		if rest, ok := strings.CutPrefix(x.Name, overlayXattr); ok {
			in.Xattrs[i].Name = overlayXattr + "overlay." + rest
		}
	}
	if size > b.limits.Xattrs {
		return fmt.Errorf("%s: %d bytes of extended attributes: %w", path, size, ErrLimit)
	}
	return nil
}

const overlayXattr = "trusted.overlay."

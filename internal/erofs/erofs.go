// Package erofs writes and reads EROFS file systems that hold metadata: a regular file is its
// bytes when it is small, and a redirect to an object when not. Mounted as the lowest layer of
// overlayfs, with the objects as a data-only layer below it, such an image is a whole tree.
//
// Equal calls write equal bytes. What [Open] accepts it reads within fixed bounds, whatever the
// bytes are. Names and attributes that mean something to overlayfs are the caller's to escape.
//
// The format: Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h of Linux, and
// https://erofs.docs.kernel.org/en/latest/ondisk/. Redirect files need Linux 5.15.
package erofs

// A NID names an inode: its place in the image in units of 32 bytes.
type NID uint64

// An Xattr is an extended attribute with its full name, as "security.capability".
type Xattr struct {
	Name  string
	Value []byte
}

// An Inode is a file system object without its names.
type Inode struct {
	// Mode is st_mode: type and permission bits.
	Mode      uint32
	UID, GID  uint32
	Mtime     int64 // seconds since 1970
	MtimeNsec uint32
	// Rdev is the number of a device as unix.Mkdev makes it.
	Rdev uint64
	// Nlink is how many names it has; the writer counts, and ignores this field.
	Nlink uint32
	// Size of a regular file or a symbolic link in bytes; of a directory, what its entries take.
	Size int64
	// Xattrs without the two that make up a redirect; the reader returns them sorted by name.
	Xattrs []Xattr
	// Data is the contents of a regular file, or the target of a symbolic link.
	Data []byte
	// Redirect is where the contents of a regular file are, as a path from the root of the
	// data-only layers: "/0/123…". Then Data is empty and Size is above 0.
	Redirect string
}

// A Dir is a directory to be written by [Writer.Finish].
type Dir struct {
	Inode
	Entries []Entry
	// Lazy is in the place of Entries, for trees that would take too much memory at once: it is called twice, and
	// gives the same both times.
	Lazy func() []Entry

	nid  NID
	data uint32 // block address of its whole blocks
	tail int64  // offset in the image of what follows them, 0 for nothing
}

// An Entry is a name in a directory to be written.
type Entry struct {
	Name string // 1 to 255 bytes, none of them "/" or 0
	NID  NID    // from [Writer.Add]; not for a directory
	Type uint32 // S_IFMT bits of the mode
	Dir  *Dir   // the directory, if it is one
}

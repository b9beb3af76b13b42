// Package toc reads the table of contents that a layer may have: what files it holds, and where
// in the blob the decompression of each can begin. So a file can be fetched without the others.
//
// Two formats have one. In zstd:chunked (containers/storage) it stands in a skippable frame at
// the end of the blob; in eStargz (stargz-snapshotter, docs/estargz.md) in the last file of the
// tar stream. Both are ordinary layers to who does not know them.
//
// A table is what it is only by its digest, which an annotation of the layer in the manifest
// gives: one without is not looked for. What a good digest does not tell is whether the table
// agrees with the tar stream. Each file in it has a digest of its own to be checked against.
package toc

import (
	"errors"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
)

// ErrUnusable is a table that cannot stand for its layer. The layer itself may be good.
var ErrUnusable = errors.New("table of contents cannot be used")

// A Format is how the parts of a layer are compressed.
type Format int

// The formats.
const (
	ZstdChunked Format = iota + 1
	EStargz
)

func (f Format) String() string {
	if f == EStargz {
		return "estargz"
	}
	return "zstd:chunked"
}

// A Table is the table of contents of one layer.
type Table struct {
	Format  Format
	Entries []Entry // in the order of the tar stream, without IsMark's
}

// An Entry is one of a tar stream.
type Entry struct {
	Path string
	Link string // of a hard link: the path of the file it is another name of
	// Inode is the metadata. Data is filled in for symbolic links; Redirect is not.
	Inode erofs.Inode

	// The contents of a regular file that is not empty. Decompression begins at byte From of the
	// blob; after Inner bytes of output come Inode.Size bytes with the digest. To is where in the
	// blob all of them have been read. From only grows from one entry to the next, and where it
	// stays, Inner grows.
	Digest          object.Digest
	From, To, Inner int64
}

// HasContents tells a regular file that is not empty.
func (e *Entry) HasContents() bool { return e.To > 0 }

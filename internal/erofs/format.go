package erofs

import (
	"encoding/binary"
	"hash/crc32"

	"golang.org/x/sys/unix"
)

// Sizes and places that are the same in every image that we write or read.
const (
	blockBits  = 12
	blockSize  = 1 << blockBits
	slotBits   = 5 // a NID counts slots of 32 bytes
	slotSize   = 1 << slotBits
	superStart = 1024
	superSize  = 128
	rootStart  = superStart + superSize // where the writer puts the root; root NIDs have 16 bits
	direntSize = 12
	maxName    = 255
	maxPath    = 1 << 14 // ours; the kernel takes 4095 bytes at a time, but a tree may be deeper
	nullBlock  = 0xffffffff
)

// The writer's images have up to 16 GiB: as far as shared attributes are addressed. So a NID has
// 29 bits, and with a type takes 4 bytes.
const (
	maxBlocks = 1 << (34 - blockBits)
	maxNID    = maxBlocks<<(blockBits-slotBits) - 1
)

const (
	magic = 0xe0f5e1e2

	compatChecksum = 1
	compatMtime    = 2 // the times are those of modification

	incompatZeroPadding = 1 // compressed files, see below
	incompatCompression = 2 // likewise: with its parameters after the superblock
	incompatChunked     = 4
)

// Layouts of an inode's data, bits 1 to 3 of i_format.
const (
	layoutPlain   = 0
	layoutFull    = 1 // compressed
	layoutInline  = 2 // the bytes after the last whole block follow the inode
	layoutCompact = 3 // compressed
	layoutChunks  = 4 // block addresses of chunks follow the inode
)

const (
	compactSize  = 32
	extendedSize = 64
	nlinkOffset  = 44 // of i_nlink in an extended inode

	chunkBitsMask = 0x1f
	chunkIndexes  = 0x20
	// A chunk is at most 2^31 blocks, 8 TiB.
	maxChunkBits = blockBits + chunkBitsMask
)

// File types of directory entries; 0 is unknown.
const (
	typeRegular = 1 + iota
	typeDir
	typeChar
	typeBlock
	typeFIFO
	typeSocket
	typeSymlink
)

// fileType returns the type of a directory entry for a mode, 0 for a mode without one.
func fileType(mode uint32) byte {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return typeRegular
	case unix.S_IFDIR:
		return typeDir
	case unix.S_IFCHR:
		return typeChar
	case unix.S_IFBLK:
		return typeBlock
	case unix.S_IFIFO:
		return typeFIFO
	case unix.S_IFSOCK:
		return typeSocket
	case unix.S_IFLNK:
		return typeSymlink
	}
	return 0
}

// modeType is the inverse of fileType: S_IFMT bits, 0 for what is no type.
func modeType(t byte) uint32 {
	switch t {
	case typeRegular:
		return unix.S_IFREG
	case typeDir:
		return unix.S_IFDIR
	case typeChar:
		return unix.S_IFCHR
	case typeBlock:
		return unix.S_IFBLK
	case typeFIFO:
		return unix.S_IFIFO
	case typeSocket:
		return unix.S_IFSOCK
	case typeSymlink:
		return unix.S_IFLNK
	}
	return 0
}

// checksum of the superblock: from its start to the end of the block, its own field being 0.
// The kernel's crc32c does not invert the result.
func checksum(block []byte) uint32 {
	return ^crc32.Checksum(block[superStart:], crc32.MakeTable(crc32.Castagnoli))
}

func align(n, unit int) int { return (n + unit - 1) &^ (unit - 1) }

var le = binary.LittleEndian

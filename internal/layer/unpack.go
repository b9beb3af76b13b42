// Package layer unpacks the tar stream of a layer: metadata to a tree, contents to
// objects.
//
// Nothing is staged: each byte of a file goes through its hash into its final place. The
// stream comes from anybody, so every number in it is bounded.
package layer

import (
	"archive/tar"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/blob"
	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
)

// Objects takes the contents of files.
type Objects interface {
	Put(r io.Reader, size int64) (object.Result, error)
}

// A Builder takes the metadata: package tree's, or one that keeps it for that.
type Builder interface {
	Add(path string, in erofs.Inode) error
	Link(path, target string) error
}

// Limits are what a layer may hold. A zero field has its default.
type Limits struct {
	// Free is how many bytes a layer may unpack to whatever its size; 1 GiB. Above it, it may
	// unpack to Ratio times its own size; 200. Real programs compress to a tenth at best.
	Free  int64
	Ratio int64
}

// A Layer is what is known of one before it is unpacked.
type Layer struct {
	Name   string        // for errors
	Size   int64         // of the blob in bytes
	DiffID digest.Digest // of the tar stream; "" when it is not known
	Limits Limits
	// Skip names files that are no part of the image; nil for none.
	Skip func(name string) bool
}

// Stats is what one layer held.
type Stats struct {
	Bytes   int64 // of regular files
	Written int64 // of objects that were new
	Files   int   // regular files
}

// An Opener opens the blob of a layer. Reads of it must end when ctx does.
type Opener func(ctx context.Context) (io.ReadCloser, error)

// Unpack adds one layer to the tree. The blob is read to its end, so whoever verifies it there
// has verified all of it.
func Unpack(ctx context.Context, open Opener, l Layer, b Builder, objects Objects) (Stats, error) {
	u := unpacker{tree: b, objects: objects, limit: l.Limit(), skip: l.Skip}
	if err := u.unpack(ctx, open, l); err != nil {
		return u.stats, fmt.Errorf("layer %s: %w", l.Name, foreign{err})
	}
	return u.stats, nil
}

func (u *unpacker) unpack(ctx context.Context, open Opener, l Layer) error {
	ctx, cancel := context.WithCancel(ctx)
	r, err := open(ctx)
	if err != nil {
		cancel()
		return err
	}
	defer r.Close()
	s, err := newStream(ctx, r, l)
	if err != nil {
		cancel()
		return err
	}
	defer s.wait()
	defer cancel()
	u.tar = tar.NewReader(s)
	if err := u.run(); err != nil {
		return err
	}
	// A tar stream may go on after its end; the digest is over all of it.
	if _, err := io.Copy(io.Discard, s); err != nil {
		return err
	}
	return s.verify()
}

type unpacker struct {
	tar     *tar.Reader
	tree    Builder
	objects Objects
	limit   int64 // bytes of files
	skip    func(string) bool
	stats   Stats
}

func (u *unpacker) run() error {
	for {
		h, err := u.tar.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // the tree has rules of its own
			return fmt.Errorf("tar: %w", short(err))
		}
		if err := u.entry(h); err != nil {
			return err
		}
	}
}

func (u *unpacker) entry(h *tar.Header) error {
	if u.skip != nil && u.skip(h.Name) {
		return nil
	}
	switch h.Typeflag {
	case tar.TypeLink:
		return u.tree.Link(h.Name, h.Linkname)
	case tar.TypeXGlobalHeader:
		return nil // a remark about the archive, such as git's commit
	}
	in, err := inode(h)
	if err != nil {
		return err
	}
	if in.Mode&unix.S_IFMT == unix.S_IFREG {
		if err := u.contents(h, &in); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	return u.tree.Add(h.Name, in)
}

// contents reads a regular file to the objects.
func (u *unpacker) contents(h *tar.Header, in *erofs.Inode) error {
	if h.Size < 0 {
		return fmt.Errorf("size %d", h.Size)
	}
	// The tar stream is bounded elsewhere, but the holes of a sparse file are not in it.
	if h.Size > u.limit-u.stats.Bytes {
		return fmt.Errorf("%d bytes and %d before it: %w", h.Size, u.stats.Bytes, ErrBomb)
	}
	in.Size = h.Size
	u.stats.Files++
	u.stats.Bytes += h.Size
	if h.Size == 0 {
		return nil
	}
	result, err := u.objects.Put(u.tar, h.Size)
	if err != nil {
		return err
	}
	u.stats.Written += result.Written
	in.Redirect = result.Digest.Redirect()
	return nil
}

// inode is the metadata of a header.
func inode(h *tar.Header) (erofs.Inode, error) {
	in := erofs.Inode{
		Mode:      uint32(h.Mode) & 0o7777,
		Mtime:     h.ModTime.Unix(),
		MtimeNsec: uint32(h.ModTime.Nanosecond()),
	}
	format, ok := kind(h.Typeflag)
	if !ok {
		return in, fmt.Errorf("%s: tar entry of type %q, which images do not have", h.Name, h.Typeflag)
	}
	in.Mode |= format
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > 1<<32-2 || int64(h.Gid) > 1<<32-2 {
		return in, fmt.Errorf("%s: owner %d:%d is out of range", h.Name, h.Uid, h.Gid)
	}
	in.UID, in.GID = uint32(h.Uid), uint32(h.Gid)
	switch format {
	case unix.S_IFLNK:
		if h.Linkname == "" || len(h.Linkname) > 4095 {
			return in, fmt.Errorf("%s: symbolic link with a target of %d bytes", h.Name, len(h.Linkname))
		}
		in.Data, in.Size = []byte(h.Linkname), int64(len(h.Linkname))
	case unix.S_IFCHR, unix.S_IFBLK:
		if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
			return in, fmt.Errorf("%s: device %d:%d is out of range", h.Name, h.Devmajor, h.Devminor)
		}
		in.Rdev = unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	}
	var err error
	in.Xattrs, err = xattrs(h)
	return in, err
}

// kind is the file type of a tar entry, as in st_mode.
func kind(flag byte) (uint32, bool) {
	switch flag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return unix.S_IFREG, true
	case tar.TypeDir:
		return unix.S_IFDIR, true
	case tar.TypeSymlink:
		return unix.S_IFLNK, true
	case tar.TypeFifo:
		return unix.S_IFIFO, true
	case tar.TypeChar:
		return unix.S_IFCHR, true
	case tar.TypeBlock:
		return unix.S_IFBLK, true
	}
	return 0, false
}

// Records of a PAX header that carry extended attributes: star's and GNU tar's, and libarchive's.
const (
	schily     = "SCHILY.xattr."
	libarchive = "LIBARCHIVE.xattr."
)

func xattrs(h *tar.Header) ([]erofs.Xattr, error) {
	var all []erofs.Xattr
	seen := map[string]bool{}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, schily)
		data := []byte(value)
		if !ok {
			name, ok = strings.CutPrefix(key, libarchive)
			if !ok {
				continue
			}
			if _, both := h.PAXRecords[schily+name]; both {
				continue
			}
			var err error
			if name, data, err = fromLibarchive(name, value); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", h.Name, key, err)
			}
		}
		if seen[name] {
			return nil, fmt.Errorf("%s: extended attribute %q twice", h.Name, name)
		}
		seen[name] = true
		all = append(all, erofs.Xattr{Name: name, Value: data})
	}
	return all, nil
}

// fromLibarchive: the name is URL-encoded, the value base64 without padding (libarchive,
// archive_write_set_format_pax.c).
func fromLibarchive(name, value string) (string, []byte, error) {
	plain, err := url.PathUnescape(name)
	if err != nil {
		return "", nil, err
	}
	data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
	return plain, data, err
}

// hashOf is the hash the tar stream is checked with.
func hashOf(d digest.Digest) (io.Writer, func() digest.Digest, error) {
	if d == "" {
		return io.Discard, nil, nil
	}
	h, err := blob.Hash(d)
	if err != nil {
		return nil, nil, fmt.Errorf("diff id: %w", err)
	}
	return h, func() digest.Digest { return digest.NewDigest(d.Algorithm(), h) }, nil
}

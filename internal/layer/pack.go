package layer

import (
	"archive/tar"
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
)

// A Tree is the metadata of an image, to read.
type Tree interface {
	Walk(visit func(path string, nid erofs.NID, in *erofs.Inode) error) error
	Contents(nid erofs.NID) (*io.SectionReader, error)
}

// A Source opens the contents of a file. They are as many bytes as the tree says.
type Source func(object.Digest) (io.ReadCloser, error)

// Pack writes a tree as one layer: a tar stream in the format of POSIX.1-2001 (pax), which
// Unpack turns into the same tree. Equal trees give equal bytes: entries come in the order of
// their names, the root first, and nothing of this machine is in them.
//
// Holes are written as zeros. Times keep their nanoseconds, names and attributes their bytes.
func Pack(w io.Writer, t Tree, open Source) error {
	p := packer{
		tar: tar.NewWriter(w), tree: t, open: open,
		first: map[erofs.NID]string{}, buf: make([]byte, 64<<10),
	}
	if err := t.Walk(p.entry); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	if err := p.tar.Close(); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	return nil
}

type packer struct {
	tar   *tar.Writer
	tree  Tree
	open  Source
	first map[erofs.NID]string // the first names of files that have several
	buf   []byte
}

func (p *packer) entry(path string, nid erofs.NID, in *erofs.Inode) error {
	h, err := header(path, in)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if in.Nlink > 1 && in.Mode&unix.S_IFMT != unix.S_IFDIR {
		if first, ok := p.first[nid]; ok {
			// Some unpackers apply the metadata of each name they meet, so each has all of it.
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return p.tar.WriteHeader(h)
		}
		p.first[nid] = path
	}
	if err := p.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if h.Typeflag != tar.TypeReg || in.Size == 0 {
		return nil
	}
	if err := p.contents(nid, in); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (p *packer) contents(nid erofs.NID, in *erofs.Inode) error {
	r, err := p.reader(nid, in)
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.CopyBuffer(p.tar, onlyReader{r}, p.buf)
	if err == nil && n < in.Size {
		err = fmt.Errorf("%d of %d bytes: %w", n, in.Size, io.ErrUnexpectedEOF)
	}
	return err
}

func (p *packer) reader(nid erofs.NID, in *erofs.Inode) (io.ReadCloser, error) {
	if in.Redirect == "" {
		r, err := p.tree.Contents(nid)
		return io.NopCloser(r), err
	}
	d, err := object.ParseRedirect(in.Redirect)
	if err != nil {
		return nil, err
	}
	return p.open(d)
}

// header is the metadata of an inode.
func header(path string, in *erofs.Inode) (*tar.Header, error) {
	h := &tar.Header{
		Format:  tar.FormatPAX,
		Name:    path,
		Mode:    int64(in.Mode & 0o7777),
		Uid:     int(in.UID),
		Gid:     int(in.GID),
		ModTime: time.Unix(in.Mtime, int64(in.MtimeNsec)),
	}
	switch in.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, in.Size
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
		h.Name += "/"
	case unix.S_IFLNK:
		h.Typeflag, h.Linkname = tar.TypeSymlink, string(in.Data)
	case unix.S_IFCHR:
		h.Typeflag = tar.TypeChar
	case unix.S_IFBLK:
		h.Typeflag = tar.TypeBlock
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return nil, fmt.Errorf("mode %#o, which no layer can hold", in.Mode)
	}
	if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
		h.Devmajor, h.Devminor = int64(unix.Major(in.Rdev)), int64(unix.Minor(in.Rdev))
	}
	if len(in.Xattrs) > 0 {
		h.PAXRecords = make(map[string]string, len(in.Xattrs))
	}
	for _, x := range in.Xattrs {
		key, value := record(x)
		h.PAXRecords[key] = value
	}
	return h, nil
}

// record is the PAX record of an extended attribute, as star and GNU tar write it. The key of a
// record cannot hold "=": such a name goes in libarchive's form, which encodes it.
func record(x erofs.Xattr) (key, value string) {
	name := x.Name
	if rest, ok := strings.CutPrefix(name, escaped); ok {
		name = strings.TrimSuffix(escaped, "overlay.") + rest // package tree put the escape on
	}
	if strings.Contains(name, "=") {
		return libarchive + strings.ReplaceAll(url.PathEscape(name), "=", "%3D"),
			base64.RawStdEncoding.EncodeToString(x.Value)
	}
	return schily + name, string(x.Value)
}

const escaped = "trusted.overlay.overlay."

// onlyReader hides the methods by which io.CopyBuffer would pass the buffer over.
type onlyReader struct{ io.Reader }

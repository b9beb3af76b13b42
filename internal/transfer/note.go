package transfer

import (
	"bufio"
	"encoding/binary"
	"io"

	"github.com/klauspost/compress/gzip"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/layer"
)

// notes is the metadata of a layer, kept until it is known which layers lie below it, or for the next pull.
// Compressed it takes some 40 bytes for a file.
type notes struct {
	z    *gzip.Writer
	line []byte
}

func newNotes(w io.Writer) *notes {
	n := &notes{}
	n.z, _ = gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is one
	return n
}

// Add notes an inode.
func (n *notes) Add(path string, in erofs.Inode) error {
	n.begin(path, "", 0)
	for _, v := range []uint64{
		uint64(in.Mode), uint64(in.UID), uint64(in.GID), uint64(in.Mtime), uint64(in.MtimeNsec), in.Rdev, uint64(in.Size),
	} {
		n.line = binary.AppendUvarint(n.line, v)
	}
	n.text(string(in.Data))
	n.text(in.Redirect)
	n.line = binary.AppendUvarint(n.line, uint64(len(in.Xattrs)))
	for _, x := range in.Xattrs {
		n.text(x.Name)
		n.text(string(x.Value))
	}
	_, err := n.z.Write(n.line)
	return err
}

// Link notes a hard link.
func (n *notes) Link(path, target string) error {
	n.begin(path, target, 1)
	_, err := n.z.Write(n.line)
	return err
}

// begin tells links apart by a byte of their own: an archive may have one that leads to "".
func (n *notes) begin(path, target string, link byte) {
	n.line = n.line[:0]
	n.text(path)
	n.text(target)
	n.line = append(n.line, link)
}

func (n *notes) text(s string) {
	n.line = binary.AppendUvarint(n.line, uint64(len(s)))
	n.line = append(n.line, s...)
}

// close ends the notes, and gives back what writing them took.
func (n *notes) close() error {
	err := n.z.Close()
	n.z, n.line = nil, nil
	return err
}

// replay hands all that was noted to a builder, in its order.
func replay(packed io.Reader, b layer.Builder) error {
	z, err := gzip.NewReader(packed)
	if err != nil {
		return err
	}
	r := &noteReader{r: bufio.NewReader(z)}
	for {
		if _, err := r.r.Peek(1); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if err := r.one(b); err != nil {
			return err
		}
	}
}

// A noteReader reads what notes wrote. It keeps the first error.
type noteReader struct {
	r   *bufio.Reader
	err error
}

func (r *noteReader) one(b layer.Builder) error {
	path, target := r.text(), r.text()
	if link, err := r.r.ReadByte(); err != nil || link == 1 {
		if err != nil || r.err != nil {
			return io.ErrUnexpectedEOF
		}
		return b.Link(path, target)
	}
	in := erofs.Inode{
		Mode: uint32(r.number()), UID: uint32(r.number()), GID: uint32(r.number()), Mtime: int64(r.number()),
		MtimeNsec: uint32(r.number()), Rdev: r.number(), Size: int64(r.number()),
	}
	if data := r.text(); data != "" {
		in.Data = []byte(data)
	}
	in.Redirect = r.text()
	for range r.number() {
		in.Xattrs = append(in.Xattrs, erofs.Xattr{Name: r.text(), Value: []byte(r.text())})
	}
	if r.err != nil {
		return r.err
	}
	return b.Add(path, in)
}

func (r *noteReader) number() uint64 {
	v, err := binary.ReadUvarint(r.r)
	if err != nil {
		r.err = io.ErrUnexpectedEOF
		return 0
	}
	return v
}

func (r *noteReader) text() string {
	n := r.number()
	if r.err != nil {
		return ""
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		r.err = io.ErrUnexpectedEOF
		return ""
	}
	return string(b)
}

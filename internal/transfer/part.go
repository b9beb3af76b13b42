package transfer

import (
	"bufio"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/toc"
)

// gap is how many bytes of a blob that nobody needs are read rather than asked for a new range: an
// answer takes a round trip at least, and often a connection.
const gap = 64 << 10

// A span is bytes of a blob.
type span struct{ from, to int64 }

// join adds the next span, and makes one of two that are near.
func join(all []span, next span) []span {
	if n := len(all) - 1; n >= 0 && next.from-all[n].to <= gap {
		all[n].to = max(all[n].to, next.to)
		return all
	}
	return append(all, next)
}

// A cursor reads parts of a blob, each further on than the last or opened anew.
type cursor struct {
	open  func(from, to int64) (io.ReadCloser, error)
	spans []span // that will be read, in order
	body  io.ReadCloser
	at    int64
	to    int64 // where the part ends
	end   int64 // and what was asked for
	err   error // of the source, which is no fault of what is read
}

// seek begins a part.
func (c *cursor) seek(from, to int64) error {
	c.to = to
	if c.body != nil && from >= c.at && from-c.at <= gap && to <= c.end {
		n, err := io.CopyN(io.Discard, c.body, from-c.at)
		c.at += n
		return c.note(err)
	}
	c.close()
	c.end = to
	for len(c.spans) > 0 && c.spans[0].from <= from {
		c.end = max(c.end, c.spans[0].to)
		c.spans = c.spans[1:]
	}
	body, err := c.open(from, c.end)
	if err != nil {
		return c.note(err)
	}
	c.body, c.at = body, from
	return nil
}

func (c *cursor) Read(p []byte) (int, error) {
	if c.at >= c.to {
		return 0, io.EOF
	}
	n, err := c.body.Read(p[:min(int64(len(p)), c.to-c.at)])
	c.at += int64(n)
	return n, c.note(err)
}

func (c *cursor) note(err error) error {
	if err != nil {
		c.err = err
	}
	return err
}

func (c *cursor) close() {
	if c.body != nil {
		c.body.Close()
		c.body = nil
	}
}

// An unpacking is files read out of the blob of a layer, in its order.
type unpacking struct {
	cursor *cursor
	format toc.Format
	zstd   *zstd.Decoder
	gzip   *gzip.Reader
	in     *bufio.Reader // of gzip, which reads bytes

	from int64 // where decompression began; -1 when it has not
	at   int64 // bytes of output since
	out  io.Reader
}

func newUnpacking(f toc.Format, c *cursor) *unpacking {
	return &unpacking{format: f, cursor: c, from: -1}
}

// file begins to read a file. Files that lie in one piece of compressed bytes come out of one
// decompression.
func (u *unpacking) file(e *toc.Entry) (*exactly, error) {
	if u.from == e.From && u.at <= e.Inner {
		u.cursor.to = max(u.cursor.to, e.To)
	} else if err := u.begin(e); err != nil {
		return nil, err
	}
	skip := &exactly{r: u.out, left: e.Inner - u.at}
	if _, err := io.Copy(io.Discard, skip); err != nil {
		return nil, u.fault(skip)
	}
	u.at = e.Inner + e.Inode.Size
	return &exactly{r: u.out, left: e.Inode.Size}, nil
}

func (u *unpacking) begin(e *toc.Entry) error {
	u.from = -1
	if err := u.cursor.seek(e.From, e.To); err != nil {
		return err
	}
	if err := u.reset(); err != nil {
		if u.cursor.err != nil {
			return u.cursor.err
		}
		return fmt.Errorf("byte %d of the layer: %w: %w", e.From, toc.ErrUnusable, err)
	}
	u.from, u.at = e.From, 0
	return nil
}

// reset begins to decompress at the cursor.
func (u *unpacking) reset() (err error) {
	if u.format == toc.EStargz {
		if u.gzip == nil {
			u.in, u.gzip = bufio.NewReaderSize(u.cursor, 32<<10), new(gzip.Reader)
		}
		u.in.Reset(u.cursor)
		u.out = u.gzip
		return u.gzip.Reset(u.in)
	}
	if u.zstd == nil {
		u.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(layer.MaxWindow))
		if err != nil {
			return err
		}
	}
	u.out = u.zstd
	return u.zstd.Reset(u.cursor)
}

// fault is why a read ended early: the source, or bytes that are not what the table says.
func (u *unpacking) fault(r *exactly) error {
	switch {
	case u.cursor.err != nil:
		return u.cursor.err
	case r.err != nil:
		return fmt.Errorf("after byte %d of the layer: %w: %w", u.from, toc.ErrUnusable, r.err)
	}
	return nil
}

func (u *unpacking) close() {
	u.cursor.close()
	if u.zstd != nil {
		u.zstd.Close()
	}
}

// exactly is a reader that must have left bytes, and of which no more are read.
type exactly struct {
	r    io.Reader
	left int64
	err  error
}

func (x *exactly) Read(p []byte) (int, error) {
	if x.left == 0 {
		return 0, io.EOF
	}
	n, err := x.r.Read(p[:min(int64(len(p)), x.left)])
	x.left -= int64(n)
	if x.left == 0 {
		return n, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	x.err = err
	return n, err
}

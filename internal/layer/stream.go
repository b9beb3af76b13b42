package layer

import (
	"context"
	"errors"
	"fmt"
	"io"

	digest "github.com/opencontainers/go-digest"

	"tare.dev/tare/internal/blob"
)

// A stream is the tar stream of a layer, read ahead by a goroutine of its own, so that it is
// fetched and decompressed while what came before is hashed and written. Two buffers go round
// between the two. The hash of the whole is on the reader's side, which has less to do.
type stream struct {
	filled chan part
	empty  chan []byte
	now    part   // what is being read
	rest   []byte // of it
	done   chan struct{}

	want digest.Digest
	hash io.Writer
	sum  func() digest.Digest
}

type part struct {
	data []byte
	err  error
}

const partSize = 256 << 10

// ErrBomb is a layer that unpacks to more than its size may.
var ErrBomb = errors.New("unpacks to too much")

// newStream starts to read r, until ctx ends.
func newStream(ctx context.Context, r io.Reader, l Layer) (*stream, error) {
	hash, sum, err := hashOf(l.DiffID)
	if err != nil {
		return nil, err
	}
	s := &stream{
		filled: make(chan part), empty: make(chan []byte, 2), done: make(chan struct{}),
		want: l.DiffID, hash: hash, sum: sum,
	}
	s.empty <- make([]byte, partSize)
	s.empty <- make([]byte, partSize)
	go s.fill(ctx, r, l)
	return s, nil
}

func (s *stream) fill(ctx context.Context, r io.Reader, l Layer) {
	defer close(s.done)
	z, err := Decompress(r)
	if err != nil {
		s.send(ctx, part{nil, err})
		return
	}
	defer z.Close()
	limit, total := l.Limit(), int64(0)
	for err == nil {
		var buf []byte
		select {
		case buf = <-s.empty:
		case <-ctx.Done():
			return
		}
		var n int
		n, err = readMost(z, buf[:partSize])
		if total += int64(n); err == nil && total > limit {
			err = fmt.Errorf("%d bytes, of a blob of %d: %w", total, l.Size, ErrBomb)
		}
		s.send(ctx, part{buf[:n], err})
	}
}

func (s *stream) send(ctx context.Context, p part) {
	select {
	case s.filled <- p:
	case <-ctx.Done():
	}
}

// Limit is how many bytes the layer may unpack to.
func (l Layer) Limit() int64 {
	free, ratio := l.Limits.Free, l.Limits.Ratio
	if free == 0 {
		free = 1 << 30
	}
	if ratio == 0 {
		ratio = 200
	}
	return max(free, ratio*min(l.Size, 1<<50))
}

// readMost fills p unless the stream ends or breaks.
func readMost(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

func (s *stream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.now.err != nil {
			return 0, s.now.err
		}
		if s.now.data != nil {
			s.empty <- s.now.data
			s.now = part{}
		}
		select {
		case s.now = <-s.filled:
		case <-s.done: // the context ended
			s.now = part{err: context.Canceled}
		}
		s.rest = s.now.data
		s.hash.Write(s.rest)
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// verify compares the digest of the whole stream, which has been read to its end.
func (s *stream) verify() error {
	if s.want == "" {
		return nil
	}
	if got := s.sum(); got != s.want {
		return fmt.Errorf("tar stream has digest %s, the config says %s: %w", got, s.want, blob.ErrDigest)
	}
	return nil
}

// wait waits for the end of the reading, after the context's.
func (s *stream) wait() { <-s.done }

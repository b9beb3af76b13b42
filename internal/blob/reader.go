// Package blob is the bytes of one descriptor as a stream that is verified to its
// end and goes on where a connection broke.
//
// What comes out before io.EOF is not verified yet: whoever keeps it keeps it as
// unverified until then.
package blob

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	_ "crypto/sha256" // for the digests of descriptors
	_ "crypto/sha512"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// An Opener opens the blob at an offset in bytes. Its errors are final: whoever makes one
// tries again by itself what is worth it.
type Opener func(ctx context.Context, offset int64) (io.ReadCloser, error)

// Options of a Reader. The zero value works.
type Options struct {
	// Attempts is how often a broken stream is opened again without a byte of progress
	// in between; 0 means 8, and less than 0 none: a file that ends early stays as it is.
	Attempts int
	// Pause is the wait before the second of these; it doubles from one to the next, up to
	// 30 s. 0 means 500 ms.
	Pause time.Duration
	// Resumed is told of each new beginning.
	Resumed func(offset int64, cause error)
}

// A Reader reads one blob.
type Reader struct {
	ctx    context.Context
	desc   v1.Descriptor
	open   Opener
	o      Options
	body   io.ReadCloser
	sum    hash.Hash
	at     int64
	idle   int   // attempts since the last byte
	failed error // what every further Read returns
}

var (
	// ErrDigest is a blob whose bytes are not what its descriptor says.
	ErrDigest = errors.New("digest does not match")
	// ErrSize is a blob that is shorter or longer than its descriptor says.
	ErrSize = errors.New("size does not match")
)

// NewReader opens the blob at its start. A digest of an algorithm other than SHA-256 and
// SHA-512 is refused.
func NewReader(ctx context.Context, desc v1.Descriptor, open Opener, o Options) (*Reader, error) {
	sum, err := Hash(desc.Digest)
	if err != nil {
		return nil, err
	}
	if desc.Size < 0 {
		return nil, fmt.Errorf("blob %s: size %d: %w", desc.Digest, desc.Size, ErrSize)
	}
	switch {
	case o.Attempts == 0:
		o.Attempts = 8
	case o.Attempts < 0:
		o.Attempts = 0
	}
	if o.Pause == 0 {
		o.Pause = 500 * time.Millisecond
	}
	body, err := open(ctx, 0)
	if err != nil {
		return nil, err
	}
	return &Reader{ctx: ctx, desc: desc, open: open, o: o, body: body, sum: sum}, nil
}

// Hash is the hash of a digest's algorithm. A digest that is malformed, or of an algorithm
// we do not know, is refused.
func Hash(d digest.Digest) (hash.Hash, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", d, err)
	}
	switch a := d.Algorithm(); a {
	case digest.SHA256, digest.SHA512:
		return a.Hash(), nil
	}
	return nil, fmt.Errorf("digest %q: want sha256 or sha512", d)
}

// Read reads on, over broken connections too. It returns io.EOF only once size and digest
// are right.
func (r *Reader) Read(p []byte) (int, error) {
	if r.failed != nil {
		return 0, r.failed
	}
	for {
		n, err := r.read(p)
		if n > 0 {
			return n, nil
		}
		if err != nil {
			r.failed = err
			return 0, err
		}
	}
}

// read returns 0 and no error when the stream was opened again.
func (r *Reader) read(p []byte) (int, error) {
	if r.at == r.desc.Size {
		return 0, r.end()
	}
	if left := r.desc.Size - r.at; int64(len(p)) > left {
		p = p[:left]
	}
	n, err := r.body.Read(p)
	if n > 0 {
		r.sum.Write(p[:n])
		r.at += int64(n)
		r.idle = 0
		return n, nil
	}
	if err == nil {
		return 0, nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return 0, r.reopen(err)
}

// end checks what came.
func (r *Reader) end() error {
	var more [1]byte
	if n, _ := r.body.Read(more[:]); n > 0 {
		return fmt.Errorf("blob %s: longer than %d bytes: %w", r.desc.Digest, r.desc.Size, ErrSize)
	}
	if got := digest.NewDigest(r.desc.Digest.Algorithm(), r.sum); got != r.desc.Digest {
		return fmt.Errorf("blob %s: has digest %s: %w", r.desc.Digest, got, ErrDigest)
	}
	return io.EOF
}

// reopen goes on after cause.
func (r *Reader) reopen(cause error) error {
	r.body.Close()
	r.body = closed{}
	for {
		r.idle++
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		if r.idle > r.o.Attempts {
			if errors.Is(cause, io.ErrUnexpectedEOF) {
				return fmt.Errorf("blob %s: ends at byte %d of %d: %w", r.desc.Digest, r.at, r.desc.Size, ErrSize)
			}
			return fmt.Errorf("blob %s: at byte %d of %d, %d attempts: %w",
				r.desc.Digest, r.at, r.desc.Size, r.o.Attempts, cause)
		}
		if err := r.pause(); err != nil {
			return err
		}
		if r.o.Resumed != nil {
			r.o.Resumed(r.at, cause)
		}
		body, err := r.open(r.ctx, r.at)
		if err == nil {
			r.body = body
			return nil
		}
		cause = err
	}
}

func (r *Reader) pause() error {
	wait := min(r.o.Pause<<(r.idle-1), 30*time.Second)
	if r.idle == 1 {
		return nil // most connections that break can be made again at once
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// Close ends the connection.
func (r *Reader) Close() error { return r.body.Close() }

type closed struct{}

func (closed) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }
func (closed) Close() error             { return nil }

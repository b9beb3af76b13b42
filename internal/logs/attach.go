package logs

import (
	"context"
	"errors"
	"time"
)

// AttachOptions of an Attachment. The zero value works: everything from now on.
type AttachOptions struct {
	// History begins with what the ring has, otherwise with what comes after Attach.
	History bool
	// Stdout and Stderr are the streams that are wanted; neither means both.
	Stdout, Stderr bool
	// Hold is how long the container may be made to wait, its pipe full, while the attachment
	// takes nothing; one that takes something, however slowly, may hold on. 0: never; less: for
	// ever. Without it the attachment is left behind when it is slower than the container by
	// more than the ring has room for.
	Hold time.Duration
	// Skip goes on with Chunk.Lost where something is lost, instead of with *LostError.
	Skip bool
}

// Chunk is output as it came. Data are good until the next call.
type Chunk struct {
	Time   time.Time
	Stream byte // 1 or 2
	Data   []byte
	Lost   int64 // so many bytes were dropped here; then there are no Data
}

// An Attachment takes the raw output of a container, live. It costs 32 KiB at most, and only
// while it takes. It is used by one goroutine.
type Attachment struct {
	r    *reader
	skip bool
}

// Attach begins an attachment. Made before the container starts it gets all of the run; it ends
// with the run that goes on, or that is next.
func (l *Log) Attach(o AttachOptions) *Attachment {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &Attachment{skip: o.Skip}
	if l.closed {
		a.r = &reader{log: l}
		return a
	}
	at := l.ring.total()
	if o.History {
		at = l.ring.oldest()
	}
	a.r = l.read(at, noLimit, o.Stdout, o.Stderr)
	a.r.hold, a.r.held = o.Hold, o.Hold != 0
	return a
}

// Next waits for output. It returns io.EOF after the last of the run, *LostError when the
// attachment was left behind, and the error of ctx.
func (a *Attachment) Next(ctx context.Context) (Chunk, error) {
	v, err := a.r.next(ctx)
	lost := (*LostError)(nil)
	switch {
	case err == nil:
		return Chunk{Time: time.Unix(0, v.time), Stream: v.stream, Data: v.data}, nil
	case a.skip && errors.As(err, &lost):
		return Chunk{Lost: lost.Bytes}, nil
	}
	return Chunk{}, err
}

// Close ends the attachment.
func (a *Attachment) Close() { a.r.close() }

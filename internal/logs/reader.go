package logs

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"
)

// LostError is output that was dropped before a reader took it.
type LostError struct{ Bytes int64 }

func (e *LostError) Error() string {
	return fmt.Sprintf("read log: %d bytes were dropped before they were read", e.Bytes)
}

// reader is a place in a log that goes on. It is used by one goroutine.
type reader struct {
	log    *Log
	wake   chan struct{} // has one element when there is something new
	wanted [3]bool       // by stream
	block  *unpacked     // where runs come from before the ring is asked again; nil: not needed yet
	buf    []byte
	served uint64 // position after the last run that was returned

	// Log.mu guards these.
	at    uint64 // the first byte that the ring must still have
	limit uint64 // where the reader's end is; past everything as long as that is not known
	held  bool   // the byte at at must not be dropped
	hold  time.Duration
	since time.Time // since when it has held the container up and taken nothing; zero: it does not
}

const noLimit = math.MaxUint64

// read makes a reader. The mutex is held.
func (l *Log) read(at, limit uint64, out, err bool) *reader {
	r := &reader{
		log: l, wake: make(chan struct{}, 1), at: at, served: at, limit: limit,
		wanted: [3]bool{1: out || !err, 2: err || !out},
	}
	if l.readers == nil {
		l.readers = map[*reader]struct{}{}
	}
	l.readers[r] = struct{}{}
	return r
}

func (r *reader) close() {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.readers, r)
	r.held = false
	l.unstall()
	if r.block != nil {
		l.c.spare.Store(r.block)
		l.c.busy() // gives it back in the end
		r.block = nil
	}
}

func (r *reader) wakeUp() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// next waits for the run that is next, of the streams that are wanted. Its data are good until
// the next call. After the last it returns io.EOF, and where bytes are missing *LostError, and
// can be called again.
func (r *reader) next(ctx context.Context) (run, error) {
	for {
		v, err := r.step()
		switch {
		case err != nil:
			return run{}, err
		case v.data == nil:
			select {
			case <-r.wake:
			case <-ctx.Done():
				return run{}, ctx.Err()
			}
		case r.wanted[v.stream]:
			return v, nil
		}
	}
}

// step returns a run of no data when there is nothing for now.
func (r *reader) step() (run, error) {
	for {
		v, lost := r.unpacked()
		if lost > 0 {
			return run{}, &LostError{lost}
		}
		if v.data != nil {
			return v, nil
		}
		v, loaded, err := r.ask()
		if err != nil || !loaded {
			return v, err
		}
		r.block.unpack()
	}
}

// unpacked is the next run of the block that was unpacked, from where the reader is and up to
// its limit. Where the block is damaged it is how many bytes were lost with it.
func (r *reader) unpacked() (v run, lost int64) {
	for r.block != nil {
		v, ok := r.block.next()
		if !ok {
			lost, r.block.lost = r.block.lost, 0
			return run{}, lost
		}
		end := r.block.at
		start := end - uint64(len(v.data))
		from, to := max(start, r.served), min(end, r.block.limit)
		if from >= to {
			continue
		}
		v.data, r.served = v.data[from-start:to-start], to
		return v, 0
	}
	return run{}, 0
}

// ask takes what is next out of the ring: a run of the current block, or a block that is still
// to be unpacked.
func (r *reader) ask() (v run, loaded bool, err error) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return v, false, io.EOF
	}
	if r.at >= r.limit {
		r.held = false
		l.unstall()
		return v, false, io.EOF
	}
	if oldest := l.ring.oldest(); oldest > r.at {
		lost := min(oldest, r.limit) - r.at
		r.move(oldest)
		r.served = oldest
		return v, false, &LostError{int64(lost)}
	}
	if b, ok := l.ring.holding(r.at); ok {
		if r.block == nil {
			r.block = l.c.spare.Swap(nil)
		}
		if r.block == nil {
			r.block = &unpacked{}
		}
		r.block.load(l.ring, b)
		r.block.limit = r.limit
		r.move(min(b.end(), r.limit))
		return v, true, nil
	}
	base := l.ring.head.base.Load()
	l.ring.runs(int(r.at-base), func(have run) bool {
		r.buf = append(r.buf[:0], have.data[:min(uint64(len(have.data)), r.limit-r.at)]...)
		v = run{have.time, have.stream, r.buf}
		return false
	})
	r.move(r.at + uint64(len(v.data)))
	r.served = r.at
	return v, false, nil
}

// move says that the ring may drop all before a position, and lets a container go on that the
// reader held up.
func (r *reader) move(at uint64) {
	if at == r.at {
		return
	}
	r.at, r.since = at, time.Time{}
	r.log.unstall()
}

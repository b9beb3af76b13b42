package logs

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// ReadOptions say what of a log is read.
type ReadOptions struct {
	// Since and Until leave out what was read from the container before or after. Zero: nothing.
	Since, Until time.Time
	// Tail leaves out all but so many lines at the end; Since and Until then leave out of
	// these. Less than 0: all.
	Tail int
	// Follow goes on with what comes, up to the end of the run; at once if none goes on.
	Follow bool
	// Stdout and Stderr are the streams that are wanted; neither means both.
	Stdout, Stderr bool
}

// Entry is a line, or a gap.
type Entry struct {
	Time   time.Time // when its end was read from the container
	Stream byte      // 1 or 2
	Line   []byte    // with its newline; good until the next entry
	// Partial is a Line without a newline: the next Line of the stream belongs to it, unless
	// nothing came any more.
	Partial bool
	// More is another Entry that follows without waiting: a client need not be sent this one
	// by itself.
	More bool
	// Lost is how many bytes, of both streams, were dropped here before they were read. Then
	// there is no Line, and the next one of a stream may be the end of one.
	Lost int64
}

// Read reads lines, oldest first. An error ends it; that of ctx as well.
func (l *Log) Read(ctx context.Context, o ReadOptions) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r, skip := l.find(o)
		if r == nil {
			return
		}
		defer r.close()
		if o.Follow && !o.Until.IsZero() {
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadlineCause(ctx, o.Until, io.EOF)
			defer cancel()
		}
		p := printer{o: o, skip: skip, yield: yield}
		for {
			v, err := r.next(ctx)
			if !p.print(v, err, ctx) {
				return
			}
		}
	}
}

// printer turns what a reader returns into entries.
type printer struct {
	o     ReadOptions
	skip  int
	lines splitter
	last  [3]int64 // when a stream's last run was read
	yield func(Entry, error) bool
}

// print is false after the last entry.
func (p *printer) print(v run, err error, ctx context.Context) bool {
	lost := (*LostError)(nil)
	switch {
	case errors.As(err, &lost):
		p.skip = 0
		return p.rest() && p.yield(Entry{Lost: lost.Bytes}, nil)
	case err == io.EOF, err != nil && context.Cause(ctx) == io.EOF:
		p.rest()
		return false
	case err != nil:
		p.yield(Entry{}, err)
		return false
	}
	p.last[v.stream] = v.time
	return p.lines.split(v, func(line []byte, more bool) bool { return p.line(v.time, v.stream, line, more) })
}

// rest prints the lines that are not ended.
func (p *printer) rest() bool {
	for stream := byte(1); stream <= 2; stream++ {
		if line := p.lines.rest(stream); len(line) > 0 && !p.line(p.last[stream], stream, line, false) {
			return false
		}
	}
	return true
}

func (p *printer) line(ns int64, stream byte, line []byte, more bool) bool {
	ended := line[len(line)-1] == '\n'
	if p.skip > 0 {
		if ended {
			p.skip--
		}
		return true
	}
	t := time.Unix(0, ns)
	if t.Before(p.o.Since) {
		return true
	}
	if !p.o.Until.IsZero() && t.After(p.o.Until) {
		return !p.o.Follow
	}
	return p.yield(Entry{Time: t, Stream: stream, Line: line, Partial: !ended, More: more}, nil)
}

// part is a block, or the current one, as one looks for a place to begin.
type part struct {
	base  uint64
	last  int64     // µs
	lines int       // that are wanted and end in it
	open  [2]uint64 // at its end
}

// find makes a reader that stands where the first wanted line begins or before, and says how
// many wanted lines end before that one. It is nil if nothing is wanted.
func (l *Log) find(o ReadOptions) (*reader, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, 0
	}
	limit := uint64(noLimit)
	if !o.Follow || !l.running {
		limit = l.ring.total()
	}
	wanted := [2]bool{o.Stdout || !o.Stderr, o.Stderr || !o.Stdout}
	if o.Tail == 0 {
		return l.read(l.ring.total(), limit, wanted[0], wanted[1]), 0
	}
	parts := l.ring.parts(wanted)
	i, skip := 0, 0
	if o.Tail > 0 {
		i, skip = beginTail(parts, o.Tail, wanted)
	} else {
		for !o.Since.IsZero() && i < len(parts)-1 && parts[i].last < o.Since.UnixMicro() {
			i++
		}
		i = back(parts, i, wanted)
	}
	return l.read(parts[i].base, limit, wanted[0], wanted[1]), skip
}

// parts are all blocks and the current one.
func (r *ring) parts(wanted [2]bool) []part {
	var all []part
	add := func(b block) {
		p := part{base: b.base, last: b.last, open: b.open}
		for s, w := range wanted {
			if w {
				p.lines += int(b.lines[s])
			}
		}
		all = append(all, p)
	}
	r.blocks(func(b block) bool { add(b); return true })
	add(r.current())
	return all
}

// beginTail is the part that the last n lines begin in, and how many end there before them. A
// line that is not ended is one.
func beginTail(parts []part, n int, wanted [2]bool) (i, skip int) {
	i = len(parts) - 1
	have := 0
	for s, open := range parts[i].open {
		if wanted[s] && open != noLine {
			have++
		}
	}
	for have += parts[i].lines; have < n && i > 0; have += parts[i].lines {
		i--
	}
	for stop := back(parts, i, wanted); i > stop; have += parts[i].lines {
		i--
	}
	return i, max(have-n, 0)
}

// back is the part where the lines begin that are open where part i begins.
func back(parts []part, i int, wanted [2]bool) int {
	if i == 0 {
		return 0
	}
	first := parts[i].base
	for s, open := range parts[i-1].open {
		if wanted[s] && open != noLine {
			first = min(first, open)
		}
	}
	for i > 0 && parts[i].base > first {
		i--
	}
	return i
}

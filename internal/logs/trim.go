package logs

import "math"

const page = 4096

// Stats of a log, in bytes.
type Stats struct {
	// Memory is what the ring may take at the moment: whole pages of its file are fewer.
	Memory int64
	// Held is the output in the ring, as it came; Total what was ever printed, and Dropped what
	// of it has made room for later output.
	Held, Total, Dropped int64
	// Spilled is what this process wrote to Spill.Dir; Failed is why the last of it was not.
	Spilled int64
	Failed  error
}

// Stats are the log's.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return Stats{}
	}
	r := l.ring
	total, oldest := int64(r.total()), int64(r.oldest())
	s := Stats{
		Memory: headSize + int64(r.head.slots.Load())*16 + int64(r.used()) + int64(r.head.end.Load()-r.head.first.Load()),
		Held:   total - oldest, Total: total, Dropped: oldest,
	}
	if l.spill != nil {
		s.Spilled, s.Failed = l.spill.written, l.spill.failed
	}
	return s
}

// Trim gives memory back: everything is compressed, and the oldest of it dropped until no more
// than keep bytes are left. It is for when memory is short: readers do not hold against it.
func (l *Log) Trim(keep int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	if err := l.compact(); err != nil {
		return err
	}
	l.unstall()
	r := l.ring
	for r.head.end.Load()-r.head.first.Load() > uint64(max(keep, 0)) {
		r.drop()
	}
	return l.punchFree()
}

// tidy compresses what has stood in more than a page since a silence began, and is true when
// something came since the last time.
func (l *Log) tidy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if l.touched {
		l.touched = false
		return true
	}
	for r := range l.readers {
		if r.held {
			return false
		}
	}
	if l.ring.used() > page-dataStart {
		_ = l.compact() // where it fails the memory stays in use, and nothing else is wrong
	}
	return false
}

// compact empties the current block and gives its memory back but for the page it shares with
// the head.
func (l *Log) compact() error {
	if l.ring.used() == 0 {
		return nil
	}
	l.c.packer.seal(l.ring, math.MaxUint64)
	return punch(l.file, page, int64(areaStart(l.ring.head.block))-page)
}

// punchFree gives back what of the area has no block.
func (l *Log) punchFree() error {
	r := l.ring
	start, size := int64(areaStart(r.head.block)), uint64(len(r.area))
	first, end := r.head.first.Load(), r.head.end.Load()
	from, to := int64(end%size), int64(first%size)
	switch end - first {
	case size:
		return nil
	case 0:
		return punch(l.file, start, int64(size))
	}
	if from < to {
		return punch(l.file, start+from, to-from)
	}
	if err := punch(l.file, start+from, int64(size)-from); err != nil {
		return err
	}
	return punch(l.file, start, to)
}

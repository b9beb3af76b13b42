package logs

import "time"

// A log is stalled when the container must wait for a reader: its current block is full, and
// its oldest block is one that a reader holds. The sources are then not watched; what the
// container prints fills its pipe, and then it waits.

// stall stops reading, until a reader that holds takes something, leaves, or has taken nothing
// for as long as it may hold.
func (l *Log) stall() {
	l.stalled = true
	for _, s := range l.sources {
		l.c.forget(s)
	}
	now, first := time.Now(), time.Duration(-1)
	for r := range l.readers {
		if !r.held {
			continue
		}
		if r.since.IsZero() {
			r.since = now
		}
		if left := r.hold - now.Sub(r.since); r.hold > 0 && (first < 0 || left < first) {
			first = max(left, 0)
		}
	}
	if first >= 0 {
		l.patient = time.AfterFunc(first, l.impatient)
	}
}

// unstall reads again. Whether there is room now is found out by the next seal.
func (l *Log) unstall() {
	if !l.stalled || l.closed {
		return
	}
	l.stalled = false
	if l.patient != nil {
		l.patient.Stop()
		l.patient = nil
	}
	for _, s := range l.sources {
		if s.done {
			continue
		}
		if err := l.c.watch(s); err != nil {
			s.end(err)
		}
	}
	l.change()
}

// impatient lets go of readers that have held the container up for too long.
func (l *Log) impatient() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for r := range l.readers {
		if r.held && r.hold > 0 && !r.since.IsZero() && now.Sub(r.since) >= r.hold {
			r.held = false
		}
	}
	l.unstall()
}

package logs

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options of a Log. The zero value works.
type Options struct {
	// Budget is the memory of the ring in bytes, everything counted. 0 means DefaultBudget;
	// less than MinBudget means that, more than MaxBudget that. A log that is taken over keeps its own.
	Budget int64
	// Files are what Log.Files gave to somebody who kept them. The log goes on where it was,
	// and reads on when a run was going on. Open owns them, also when it fails.
	Files []*os.File
	// Spill is where output goes that shall outlive a boot.
	Spill Spill
}

// Log is what one container prints, over all of its runs.
type Log struct {
	c      *Collector
	damage error

	mu      sync.Mutex // before those of Collector and packer
	ring    *ring
	file    *os.File
	fd      int
	sources []*source
	running bool
	closed  bool
	failed  error // why a source ended early
	touched bool  // something came since tidy
	readers map[*reader]struct{}
	stalled bool // the sources are not watched until a reader who holds them takes something
	patient *time.Timer
	spill   *spiller      // nil: nothing is spilled
	changed chan struct{} // has one element when a source ended or the log is no longer stalled
}

// Open makes a log, or takes one over from a process that was killed or closed its Collector.
func (c *Collector) Open(o Options) (*Log, error) {
	l := &Log{c: c, changed: make(chan struct{}, 1)}
	err := l.open(o)
	if err == nil {
		err = l.openSpill(o.Spill)
	}
	if err == nil && len(o.Files) > 1 {
		l.mu.Lock()
		err = l.resume(o.Files[1:])
		l.mu.Unlock()
	}
	if err == nil {
		err = c.add(l)
	}
	if err != nil {
		for _, f := range o.Files {
			f.Close()
		}
		_ = l.Close() // its ring may be one of these, and closed
		return nil, err
	}
	return l, nil
}

func (l *Log) open(o Options) (err error) {
	if len(o.Files) > 0 {
		if l.damage = l.take(o.Files[0]); l.damage == nil {
			return nil
		}
		if !errors.Is(l.damage, errDamaged) {
			return l.damage
		}
		o.Files[0].Close()
	}
	if o.Budget == 0 {
		o.Budget = DefaultBudget
	}
	size := min(max(o.Budget, MinBudget), MaxBudget) &^ 4095
	if l.file, err = makeMemory(size); err != nil {
		return err
	}
	mem, err := mapMemory(l.file)
	if err != nil {
		return err
	}
	l.ring = makeRing(mem)
	return l.setFd()
}

// openSpill finds what was spilled, and begins with it if the ring is new.
func (l *Log) openSpill(s Spill) error {
	if s.Dir == "" {
		return nil
	}
	w, all, err := s.open()
	if err != nil {
		return err
	}
	l.spill = w
	if l.ring.total() == 0 {
		l.ring.restore(all)
		l.endLines()
	}
	return nil
}

func (l *Log) take(f *os.File) error {
	mem, err := mapMemory(f)
	if err != nil {
		return err
	}
	r, err := openRing(mem)
	if err != nil {
		return errors.Join(err, unix.Munmap(mem))
	}
	l.ring, l.file = r, f
	return l.setFd()
}

func (l *Log) setFd() error {
	return withFd(l.file, func(fd int) error { l.fd = fd; return nil })
}

// Damage is what was wrong with the ring that Open was given and an empty one has replaced;
// nil if nothing was.
func (l *Log) Damage() error { return l.damage }

// Files are what somebody must hold so that the log outlives this process: the ring, and while
// a container runs its sources. They change with Open, Start, StartTerminal and Drain. They
// stay the log's own, and are used with SyscallConn; Fd would make a terminal blocking.
func (l *Log) Files() []*os.File {
	l.mu.Lock()
	defer l.mu.Unlock()
	files := []*os.File{l.file}
	for _, s := range l.sources {
		files = append(files, s.files()...)
	}
	return files
}

// Close gives the log's memory back, unless somebody else holds its files, and ends all readers.
func (l *Log) Close() error {
	l.c.remove(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.closeSources()
	if l.patient != nil {
		l.patient.Stop()
	}
	for r := range l.readers {
		r.wakeUp()
	}
	l.change()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	if l.ring != nil {
		err = errors.Join(err, unix.Munmap(l.ring.mem))
		l.ring = nil
	}
	return err
}

// change wakes Drain.
func (l *Log) change() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// came tells everybody of new bytes.
func (l *Log) came() {
	for r := range l.readers {
		r.wakeUp()
	}
	if !l.touched {
		l.touched = true
		l.c.busy()
	}
}

// keep is the position of the first byte that a reader holds.
func (l *Log) keep() uint64 {
	keep := uint64(math.MaxUint64)
	for r := range l.readers {
		if r.held {
			keep = min(keep, r.at)
		}
	}
	return keep
}

// seal empties the current block into the area. It is false, and the log stalled, when that
// would drop what a reader holds.
func (l *Log) seal() bool {
	if !l.c.packer.seal(l.ring, l.keep()) {
		l.stall()
		return false
	}
	l.startSpill(batch)
	return true
}

func (c *Collector) add(l *Log) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return fmt.Errorf("open log: %w", os.ErrClosed)
	}
	c.logs[l] = struct{}{}
	return nil
}

func (c *Collector) remove(l *Log) {
	c.mu.Lock()
	delete(c.logs, l)
	c.mu.Unlock()
}

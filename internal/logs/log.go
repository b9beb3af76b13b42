package logs

import (
	"context"
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

var (
	// ErrRunning is a run that is started while another one goes on.
	ErrRunning = errors.New("output is being read already")
	errFiles   = errors.New("want a ring and no, two or three files of a run")
)

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

// Start begins a run: it reads from the sources that Pipe made, which it owns from now on.
func (l *Log) Start(sources [2]*os.File) error {
	return l.start(sources[:])
}

// StartTerminal begins the run of a container with a terminal. It keeps a duplicate of the
// master. Both are non-blocking from now on; whoever writes to the master uses NewInput.
func (l *Log) StartTerminal(master *os.File) error {
	var dup int
	err := withFd(master, func(fd int) (err error) {
		dup, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("duplicate terminal %s: %w", master.Name(), err)
	}
	file := os.NewFile(uintptr(dup), master.Name())
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return errors.Join(fmt.Errorf("make pipe: %w", err), file.Close())
	}
	relay := [2]*os.File{os.NewFile(uintptr(p[0]), "relay"), os.NewFile(uintptr(p[1]), "relay")}
	return l.start([]*os.File{file, relay[0], relay[1]})
}

// start owns the files, also when it fails.
func (l *Log) start(files []*os.File) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := error(nil)
	switch {
	case l.closed:
		err = fmt.Errorf("read output of a container: %w", os.ErrClosed)
	case l.running:
		err = fmt.Errorf("read output of a container: %w", ErrRunning)
	default:
		if err = l.resume(files); err == nil {
			return nil
		}
	}
	for _, f := range files {
		f.Close()
	}
	return err
}

// resume makes files the sources of a run: two FIFOs, or a terminal and both ends of its relay.
func (l *Log) resume(files []*os.File) (err error) {
	var all []*source
	add := func(stream byte, f *os.File, relay [2]*os.File) {
		s, e := newSource(l, stream, f, relay)
		all, err = append(all, s), errors.Join(err, e)
	}
	switch len(files) {
	default:
		return fmt.Errorf("read output of a container: %d files: %w", len(files), errFiles)
	case 2:
		add(1, files[0], [2]*os.File{})
		add(2, files[1], [2]*os.File{})
	case 3:
		add(1, files[0], [2]*os.File{files[1], files[2]})
		err = errors.Join(err, withFd(files[0], func(fd int) error { return unix.SetNonblock(fd, true) }))
	}
	for i := 0; i < len(all) && err == nil; i++ {
		if err = l.c.watch(all[i]); err == nil {
			continue
		}
		for _, s := range all[:i] {
			l.c.forget(s)
		}
	}
	if err != nil {
		for _, s := range all {
			s.closePeer()
		}
		return err
	}
	l.sources, l.running, l.failed = all, true, nil
	return nil
}

// Drain ends a run: called after the exit of all of the container's processes, it takes all
// that still waits, whoever else may have pipes or terminal open. A reader who holds the
// container up is waited for until ctx ends. Followers and attachments end once they have read
// everything.
func (l *Log) Drain(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.running && !l.drained() {
		l.mu.Unlock()
		select {
		case <-l.changed:
			l.mu.Lock()
		case <-ctx.Done():
			l.mu.Lock()
			if l.running {
				l.finish()
			}
			return errors.Join(l.failed, ctx.Err())
		}
	}
	if l.running {
		l.endRun()
	}
	return l.failed
}

// drained takes what there is, and says whether all sources have ended. Who still prints is not
// followed for ever: no pipe holds more than 1 MiB unless root has made it so (pipe(7)).
func (l *Log) drained() bool {
	all := true
	for _, s := range l.sources {
		for range 1 << 20 / minBlock / turn {
			if !s.pull() {
				break
			}
		}
		if !s.done && !l.stalled {
			s.end(nil)
		}
		all = all && s.done
	}
	return all
}

// finish takes what there is without waiting for anybody.
func (l *Log) finish() {
	for r := range l.readers {
		r.held = false
	}
	l.unstall()
	l.drained()
	l.endRun()
}

// endRun closes the sources. What is in the ring now is the last that who reads now will read.
func (l *Log) endRun() {
	l.closeSources()
	for r := range l.readers {
		r.limit = min(r.limit, l.ring.total())
		r.wakeUp()
	}
	l.endLines()
	l.spillEnd()
	l.unstall()
}

// endLines ends, for those who read later, the lines that a run has left without an end, as
// docker's json-file does: the next run begins with a new one.
func (l *Log) endLines() {
	open := l.ring.current().open
	for s, at := range open {
		if at == noLine {
			continue
		}
		now := time.Now().UnixNano()
		if l.ring.room() == 0 || !l.ring.expect(byte(s+1), now) {
			if !l.seal() {
				return // a reader who holds is still there: a line that goes on is the lesser harm
			}
			l.ring.expect(byte(s+1), now)
		}
		l.ring.put('\n')
	}
}

func (l *Log) closeSources() {
	for _, s := range l.sources {
		l.c.forget(s)
		s.done = true // an event of it may be on its way
		s.close()
	}
	l.sources, l.running = nil, false
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

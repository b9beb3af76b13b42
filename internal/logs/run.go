package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrRunning is a run that is started while another one goes on.
	ErrRunning = errors.New("output is being read already")
	errFiles   = errors.New("want a ring and no, two or three files of a run")
)

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

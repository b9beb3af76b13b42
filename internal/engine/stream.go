package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/console"
	"tare.dev/tare/internal/logs"
)

// streams are a container's output, and the way to its input. The keeper holds what they are made of.
type streams struct {
	log *logs.Log

	mu    sync.Mutex
	in    *logs.Input   // the input's FIFO, or the terminal; nil: there is none, or it was closed
	there chan struct{} // closed when there is an input again; nil: nobody waits
}

// drainTime is how long the end of a container waits for who reads its last output: more than the log
// has patience with one who does not.
const drainTime = attachHold + 5*time.Second

// Names under which the keeper holds what a container's streams are.
func (c *Container) keptLog() string   { return c.id + "/log" }
func (c *Container) keptInput() string { return c.id + "/in" }

// needStreams makes the container's log, or takes it over from the engine before. Only own calls it.
func (c *Container) needStreams() error {
	if c.io != nil {
		return nil
	}
	files, err := c.e.keep.Get(c.keptLog())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := c.e.collector.Open(logs.Options{Files: files, Budget: logBudget(c.View().Record)})
	if err != nil {
		return fmt.Errorf("open the log of container %s: %w", c.id, err)
	}
	if err := l.Damage(); err != nil {
		c.e.log.Error("a log is lost", "container", c.id, "error", err)
	}
	c.io = &streams{log: l}
	if input, err := c.e.keep.Get(c.keptInput()); err == nil {
		in, err := logs.NewInput(input[0])
		if err != nil {
			return err
		}
		c.io.setInput(in)
	}
	if len(files) == 0 {
		return c.e.keep.Put(c.keptLog(), l.Files()...)
	}
	return nil
}

// logBudget is docker's max-size, in bytes of memory: 0 is the usual.
func logBudget(r *Record) int64 {
	n, _ := parseBytes(r.Host.LogConfig.Config["max-size"]) // what is no number is none
	return n
}

// openStreams makes the FIFOs of a run and returns the ends that the process gets.
func (c *Container) openStreams() (files [3]*os.File, err error) {
	defer func() {
		if err != nil {
			closeFiles(files)
		}
	}()
	if err := c.needStreams(); err != nil {
		return files, err
	}
	v := c.View()
	if v.Config.Tty {
		return files, nil
	}
	dir := c.e.dir(c.id)
	ends, err := logs.Pipe(dir)
	if err != nil {
		return files, err
	}
	files[1], files[2] = ends.Out, ends.Err
	if err := c.io.log.Start(ends.Sources); err != nil {
		return files, err
	}
	if err := c.e.keep.Put(c.keptLog(), c.io.log.Files()...); err != nil {
		return files, err
	}
	if !v.Config.OpenStdin {
		files[0], err = os.OpenFile(os.DevNull, os.O_RDONLY, 0)
		return files, err
	}
	var in *logs.Input
	if files[0], in, err = logs.StdinPipe(dir); err != nil {
		return files, err
	}
	c.io.setInput(in)
	return files, c.e.keep.Put(c.keptInput(), in.File())
}

func closeFiles(files [3]*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// takeTerminal takes the master of the container's terminal, before its program runs.
func (c *Container) takeTerminal(master *os.File) error {
	if size := c.View().Host.ConsoleSize; size[0] > 0 && size[1] > 0 {
		if err := console.SetSize(master, console.Size{Rows: uint16(size[0]), Cols: uint16(size[1])}); err != nil {
			return err
		}
	}
	if err := c.io.log.StartTerminal(master); err != nil {
		return err
	}
	in, err := logs.NewInput(master)
	if err != nil {
		return err
	}
	c.io.setInput(in)
	return errors.Join(c.e.keep.Put(c.keptLog(), c.io.log.Files()...), c.e.keep.Put(c.keptInput(), in.File()))
}

func (s *streams) setInput(in *logs.Input) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in != nil {
		_ = s.in.Close() // a pipe of a run that is over
	}
	s.in = in
	if in != nil && s.there != nil {
		close(s.there)
		s.there = nil
	}
}

// input is where to write what is typed; nil: nowhere.
func (s *streams) input() *logs.Input {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in
}

// awaitInput is input, for one who may have come before the container was started.
func (s *streams) awaitInput(ctx context.Context) *logs.Input {
	for {
		s.mu.Lock()
		in := s.in
		if in == nil && s.there == nil {
			s.there = make(chan struct{})
		}
		there := s.there
		s.mu.Unlock()
		if in != nil {
			return in
		}
		select {
		case <-there:
		case <-ctx.Done():
			return nil
		}
	}
}

// closeInput lets the process see the end of its input.
func (c *Container) closeInput() {
	_ = c.e.keep.Drop(c.keptInput()) // one that is not there is as good
	c.io.setInput(nil)
}

// endStreams is for a run that has not begun.
func (c *Container) endStreams() {
	if c.io != nil {
		<-c.drain()
		c.keepStreams()
	}
}

// drain closes the input of a run that is over and takes its last output. The channel is closed when
// who is attached has it, or is too slow.
func (c *Container) drain() <-chan struct{} {
	drained := make(chan struct{})
	if c.io == nil {
		close(drained)
		return drained
	}
	c.closeInput()
	go func() {
		defer close(drained)
		ctx, cancel := context.WithTimeout(c.e.ctx, drainTime)
		defer cancel()
		_ = c.io.log.Drain(ctx) // what does not come in time is left
	}()
	return drained
}

// keepStreams has the keeper hold the log alone.
func (c *Container) keepStreams() {
	if c.io == nil {
		return
	}
	if err := c.e.keep.Put(c.keptLog(), c.io.log.Files()...); err != nil {
		c.e.log.Warn("keep a log", "container", c.id, "error", err)
	}
}

// dropStreams gives the log back.
func (c *Container) dropStreams() {
	_ = c.e.keep.Drop(c.keptLog()) // one that is not there is as good
	_ = c.e.keep.Drop(c.keptInput())
	if c.io != nil {
		c.io.setInput(nil)
		_ = c.io.log.Close() // its memory is gone with it
	}
}

// resize sets the size of a terminal.
func resize(in *logs.Input, rows, columns uint16) error {
	if in == nil {
		return nil // it has just ended
	}
	raw, err := in.File().SyscallConn()
	if err != nil {
		return err
	}
	var done error
	err = raw.Control(func(fd uintptr) {
		done = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	})
	return errors.Join(err, done)
}

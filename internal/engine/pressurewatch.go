package engine

import (
	"cmp"
	"context"
	"time"

	"github.com/moby/moby/api/types/container"
)

// watcher waits for memory to be short, and does something about it, one thing at a time.
type watcher struct {
	e      *Engine
	o      PressureOptions
	source stallSource

	// What follows belongs to run.
	windows   [pressureWindows]bool
	available int
	waited    time.Duration
	reclaimed bool
	next      time.Time
	pause     time.Duration
	calm      time.Time
	spared    map[string]spare
}

// A spare is a container that was restarted and is left alone for a while.
type spare struct {
	until time.Time
	wait  time.Duration
}

// watchPressure begins to watch. A kernel that does not tell leaves the engine without, and it says so.
func (e *Engine) watchPressure() {
	o := e.o.Pressure.filled()
	if o.Off {
		return
	}
	source, err := openStalls(o)
	if err != nil {
		e.blind = "lack of memory is not seen before the kernel kills: " + err.Error()
		e.log.Warn("watch for lack of memory", "error", err)
		return
	}
	w := &watcher{e: e, o: o, source: source}
	e.work.Go(func() {
		w.run(e.ctx)
		_ = source.close() // it was only read
	})
}

// Warnings are what this device cannot do for its containers.
func (e *Engine) Warnings() []string {
	if e.blind == "" {
		return []string{}
	}
	return []string{e.blind}
}

// run sleeps until the kernel tells of a stall, and then looks every window until all is calm.
func (w *watcher) run(ctx context.Context) {
	w.spared = map[string]spare{}
	if w.slowed() { // by an engine before
		w.calm = time.Now()
		w.look(ctx)
	}
	for ctx.Err() == nil {
		if err := w.source.wait(ctx); err != nil {
			if ctx.Err() == nil {
				w.e.log.Error("wait for lack of memory", "error", err)
			}
			return
		}
		w.windows = [pressureWindows]bool{pressureWindows - 1: true}
		w.look(ctx)
	}
}

func (w *watcher) slowed() bool {
	for _, c := range w.e.Containers() {
		if v := c.View(); v.slowed() {
			return true
		}
	}
	return false
}

// look looks at window after window, and ends when there is nothing to be done.
func (w *watcher) look(ctx context.Context) {
	var err error
	if w.waited, w.available, err = w.source.read(); err != nil {
		w.e.log.Error("look at how much memory is left", "error", err)
		return
	}
	tick := time.NewTicker(w.o.Window)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := w.sample(); err != nil {
			w.e.log.Error("look at how much memory is left", "error", err)
			return
		}
		s := w.situation(time.Now())
		do, id := decide(&s, w.o)
		w.act(ctx, do, id)
		if do == doNothing && w.over(&s) {
			w.reclaimed, w.pause, w.next = false, 0, time.Time{}
			return
		}
	}
}

// sample takes a window in.
func (w *watcher) sample() error {
	waited, available, err := w.source.read()
	if err != nil {
		return err
	}
	copy(w.windows[:], w.windows[1:])
	w.windows[pressureWindows-1] = waited-w.waited >= w.o.Stall
	w.waited, w.available = waited, available
	return nil
}

// situation is what there is to decide about.
func (w *watcher) situation(now time.Time) situation {
	s := situation{Now: now, Short: w.available < w.o.Available || w.o.Available == 100, Reclaimed: w.reclaimed, Next: w.next}
	for _, stalled := range w.windows {
		if stalled {
			s.Stalled++
		}
	}
	switch {
	case s.Stalled > 0:
		w.calm = time.Time{}
	case w.calm.IsZero():
		w.calm = now
	}
	s.Calm = w.calm
	if s.Stalled < 2 && !w.slowed() {
		return s // nobody has to give way
	}
	for _, c := range w.e.Containers() {
		if v := c.View(); v.State == container.StateRunning { // one that is paused could not be stopped
			s.Running = append(s.Running, subject{
				ID: c.id, Importance: importance(v.Record), Memory: c.memoryUsed(), Slowed: v.slowed(), Comes: comes(&v), Spared: w.spared[c.id].until,
			})
		}
	}
	return s
}

// over tells whether the kernel can be left to call again.
func (w *watcher) over(s *situation) bool {
	if s.Stalled > 0 {
		return false
	}
	acted := w.reclaimed || w.slowed()
	return !acted || s.Now.Sub(s.Calm) >= w.o.Calm
}

// act takes a measure, and gives it time.
func (w *watcher) act(ctx context.Context, do measure, id string) {
	if do == doNothing {
		return
	}
	c, err := w.e.Find(id)
	if id != "" && err != nil {
		return // it has just gone
	}
	switch do {
	case doReclaim:
		w.reclaimed = true
		w.e.reclaim()
	case doSlow:
		err = c.slow()
	case doRelease:
		err = c.release()
	case doRestart:
		w.spare(id)
		err = c.giveWay(ctx, true)
	case doStop:
		err = c.giveWay(ctx, false)
	}
	if err != nil && id != "" {
		w.e.log.Error("act on lack of memory", "measure", string(do), "container", id, "error", err)
	}
	w.pause = min(2*cmp.Or(w.pause, w.o.Pause/2), pressureMost)
	w.next = time.Now().Add(w.pause)
	w.e.log.Warn("memory is short", "measure", string(do), "container", id, "available", w.available)
}

// spare leaves a container that is restarted alone for a while, for longer each time.
func (w *watcher) spare(id string) {
	now := time.Now()
	for other, s := range w.spared {
		if now.Sub(s.until) > sparedMost {
			delete(w.spared, other)
		}
	}
	wait := min(2*cmp.Or(w.spared[id].wait, sparedFirst/2), sparedMost)
	w.spared[id] = spare{now.Add(wait), wait}
}

package engine

import (
	"sync"

	"tare.dev/tare/internal/keeper"
)

// exits hands the ends of processes to those who wait for them. An end may come before who made the
// process knows its number. The keeper tells of an end again, and the next engine too, until it was
// taken note of: that is when the function that waited for it has returned.
type exits struct {
	keep *keeper.Client

	mu     sync.Mutex
	wanted map[int]func(keeper.Exit)
	early  map[int]keeper.Exit
	making int // how many processes are being made: meanwhile ends of unknown ones are kept
}

func newExits(k *keeper.Client) *exits {
	return &exits{keep: k, wanted: map[int]func(keeper.Exit){}, early: map[int]keeper.Exit{}}
}

// begin says that a process is about to be made; made or none ends it.
func (x *exits) begin() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.making++
}

// made asks for the end of the process that has been made. f is called once, from another goroutine.
func (x *exits) made(pid int, f func(keeper.Exit)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e, ok := x.early[pid]; ok {
		delete(x.early, pid)
		go x.hand(e, f)
	} else {
		x.wanted[pid] = f
	}
	x.settle()
}

// none says that no process was made.
func (x *exits) none() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.settle()
}

func (x *exits) settle() {
	if x.making--; x.making > 0 {
		return
	}
	for pid, e := range x.early {
		_ = x.keep.Ack(e) // it ends with the keeper
		delete(x.early, pid)
	}
}

func (x *exits) hand(e keeper.Exit, f func(keeper.Exit)) {
	f(e)
	_ = x.keep.Ack(e)
}

// serve goes on until the keeper ends, or the engine lets it go.
func (x *exits) serve() {
	for e := range x.keep.Exits() {
		x.mu.Lock()
		f := x.wanted[e.Pid]
		switch {
		case f != nil:
			delete(x.wanted, e.Pid)
			go x.hand(e, f)
		case x.making > 0:
			x.early[e.Pid] = e
		default:
			_ = x.keep.Ack(e)
		}
		x.mu.Unlock()
	}
}

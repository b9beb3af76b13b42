package logs

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// idle is how long nobody must print before memory is given back.
const idle = 30 * time.Second

// A Collector reads what the containers print, all of them in one goroutine. It waits in an
// epoll of its own, which costs one thread: in Go's poller each write of a container would wake
// the runtime, also where we would rather wait for more (see pause). There is one in an engine.
type Collector struct {
	epoll  int
	stop   int // an eventfd that ends loop
	packer packer
	spare  atomic.Pointer[unpacked] // what the last reader needed
	wait   sync.WaitGroup

	mu      sync.Mutex // taken with the mutex of a log held
	sources map[int32]*source
	logs    map[*Log]struct{}
	id      int32
	timer   *time.Timer // runs c.tidy; nil: nobody printed since
	closed  bool
}

// NewCollector starts one.
func NewCollector() (*Collector, error) {
	c := &Collector{epoll: -1, stop: -1, sources: map[int32]*source{}, logs: map[*Log]struct{}{}}
	var err error
	if c.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make epoll: %w", err)
	}
	if c.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err == nil {
		err = unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, c.stop, &unix.EpollEvent{Events: unix.EPOLLIN})
	}
	if err != nil {
		c.closeFds()
		return nil, fmt.Errorf("make eventfd: %w", err)
	}
	c.wait.Go(c.loop)
	return c, nil
}

func (c *Collector) closeFds() {
	unix.Close(c.epoll)
	unix.Close(c.stop)
}

// While much is printed in small pieces, the sources are looked at once in a pause: it makes
// 10 MiB of lines that each have their own write cost a quarter. Whoever prints after a silence
// is heard at once, and who prints more than some is not made to wait for room in a pipe.
const (
	pause = time.Millisecond
	some  = 8 << 10
)

// loop serves what is ready, until it is stopped.
func (c *Collector) loop() {
	var events [32]unix.EpollEvent
	for last := time.Now(); ; last = time.Now() {
		n, err := unix.EpollWait(c.epoll, events[:], -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			panic("logs: wait for output: " + err.Error()) // a descriptor that is not ours to close was closed
		}
		got := uint64(0)
		for _, e := range events[:max(n, 0)] {
			if e.Fd == 0 {
				return
			}
			got += c.serve(e.Fd)
		}
		if got < some && time.Since(last) < pause {
			time.Sleep(pause)
		}
	}
}

// Close stops reading and ends all readers. What containers print from now on waits in their
// pipes for the next Collector; logs and sources live in what Log.Files returned.
func (c *Collector) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	all := c.logs
	c.logs = nil
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	_, err := unix.Write(c.stop, []byte{0, 0, 0, 0, 0, 0, 0, 1})
	if err != nil {
		return fmt.Errorf("stop reading output: %w", err)
	}
	c.wait.Wait()
	c.closeFds()
	for l := range all {
		err = errors.Join(err, l.Close())
	}
	c.packer.rest()
	return err
}

// serve reads from the source of an event, if it is still there, and says how much.
func (c *Collector) serve(id int32) uint64 {
	c.mu.Lock()
	s := c.sources[id]
	c.mu.Unlock()
	if s == nil {
		return 0
	}
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.done {
		return 0
	}
	before := l.ring.total()
	s.pull()
	return l.ring.total() - before
}

// watch has serve called when the source has something.
func (c *Collector) watch(s *source) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return fmt.Errorf("watch output of a container: %w", os.ErrClosed)
	}
	c.id++
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: c.id}
	if err := unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, s.fd, &e); err != nil {
		return fmt.Errorf("watch output of a container: %w", err)
	}
	s.id = c.id
	c.sources[s.id] = s
	return nil
}

// forget undoes watch.
func (c *Collector) forget(s *source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.id == 0 || c.closed {
		return
	}
	delete(c.sources, s.id)
	s.id = 0
	// The keeper may have the file open as well, so that closing it would not do.
	_ = unix.EpollCtl(c.epoll, unix.EPOLL_CTL_DEL, s.fd, nil) // there is nothing else it could say
}

// work has f called, and Close wait for it; false after Close.
func (c *Collector) work(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wait.Go(f)
	return true
}

// busy sees to it that tidy comes.
func (c *Collector) busy() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer == nil && !c.closed {
		c.timer = time.AfterFunc(idle, c.tidy)
	}
}

// tidy gives back the memory of logs that were silent since it was last called, and comes
// again as long as one was not.
func (c *Collector) tidy() {
	c.mu.Lock()
	all := make([]*Log, 0, len(c.logs))
	for l := range c.logs {
		all = append(all, l)
	}
	c.timer = nil
	c.mu.Unlock()
	again := false
	for _, l := range all {
		again = l.tidy() || again
	}
	if again {
		c.busy()
		return
	}
	c.packer.rest()
	c.spare.Store(nil)
}

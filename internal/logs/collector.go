package logs

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// idle is how long nobody must print before memory is given back.
const idle = 30 * time.Second

// A Collector reads what the containers print, all of them in one goroutine that waits in
// Go's poller and has no thread of its own. There is one in an engine.
type Collector struct {
	epoll  *os.File
	fd     int
	packer packer
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
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll: %w", err)
	}
	// An epoll can itself be polled; package os does so when it does not block.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make epoll non-blocking: %w", err)
	}
	c := &Collector{
		epoll: os.NewFile(uintptr(fd), "epoll"), fd: fd,
		sources: map[int32]*source{}, logs: map[*Log]struct{}{},
	}
	conn, err := c.epoll.SyscallConn()
	if err != nil {
		c.epoll.Close()
		return nil, fmt.Errorf("poll epoll: %w", err)
	}
	c.wait.Go(func() {
		var events [32]unix.EpollEvent
		for {
			n := 0
			err := conn.Read(func(fd uintptr) bool {
				var err error
				n, err = unix.EpollWait(int(fd), events[:], 0)
				return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
			})
			if err != nil || n < 0 {
				return // closed
			}
			for _, e := range events[:n] {
				c.serve(e.Fd)
			}
		}
	})
	return c, nil
}

// Close stops reading and ends all readers. What containers print from now on waits in their
// pipes for the next Collector; logs and sources live in what Log.Files returned.
func (c *Collector) Close() error {
	c.mu.Lock()
	c.closed = true
	all := c.logs
	c.logs = nil
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	err := c.epoll.Close()
	c.wait.Wait()
	for l := range all {
		err = errors.Join(err, l.Close())
	}
	c.packer.rest()
	return err
}

// serve reads from the source of an event, if it is still there.
func (c *Collector) serve(id int32) {
	c.mu.Lock()
	s := c.sources[id]
	c.mu.Unlock()
	if s == nil {
		return
	}
	s.log.mu.Lock()
	s.pull()
	s.log.mu.Unlock()
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
	if err := unix.EpollCtl(c.fd, unix.EPOLL_CTL_ADD, s.fd, &e); err != nil {
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
	_ = unix.EpollCtl(c.fd, unix.EPOLL_CTL_DEL, s.fd, nil) // there is nothing else it could say
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
}

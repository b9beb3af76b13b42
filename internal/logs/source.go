package logs

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// source is one stream of a running container. The log's mutex guards it.
type source struct {
	log    *Log
	stream byte
	id     int32
	file   *os.File
	fd     int
	// relay stands between a terminal and the ring, as splice(2) wants a pipe at one end;
	// the keeper holds it too. It is empty for a FIFO.
	relay [2]*os.File
	rfd   [2]int
	// peer is the terminal's other end, which we hold so that there is one also while nobody in
	// the container has it open: a system's console is opened for each message. -1: not held.
	peer int
	done bool
}

func newSource(l *Log, stream byte, f *os.File, relay [2]*os.File) (*source, error) {
	s := &source{log: l, stream: stream, file: f, relay: relay, peer: -1}
	to := [3]*int{&s.fd, &s.rfd[0], &s.rfd[1]}
	for i, f := range s.files() {
		if err := withFd(f, func(fd int) error { *to[i] = fd; return nil }); err != nil {
			return s, fmt.Errorf("read output of a container: %w", err)
		}
	}
	if relay[0] != nil {
		s.openPeer()
	}
	return s, nil
}

// openPeer opens the terminal's other end. While that is locked it cannot, and is asked again
// when nobody has the terminal open. TIOCGPTPEER is of Linux 4.13; without it a terminal ends
// when nobody has it open.
func (s *source) openPeer() bool {
	s.closePeer()
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return false
	}
	s.peer = int(fd)
	return true
}

func (s *source) closePeer() {
	if s.peer >= 0 {
		unix.Close(s.peer)
		s.peer = -1
	}
}

func (s *source) files() []*os.File {
	if s.relay[0] == nil {
		return []*os.File{s.file}
	}
	return []*os.File{s.file, s.relay[0], s.relay[1]}
}

// turn is how often a source is read before another has its turn.
const turn = 4

// pull moves what waits into the ring, until nothing does (false), or its turn is over (true),
// or the log is stalled.
func (s *source) pull() (more bool) {
	for range turn {
		if s.done || s.log.stalled {
			return false
		}
		if !s.step() {
			return false
		}
	}
	return true
}

// step reads once. It is false when there is nothing more for now.
func (s *source) step() bool {
	l := s.log
	now := time.Now().UnixNano()
	if l.ring.room() == 0 || !l.ring.expect(s.stream, now) {
		if !l.seal() {
			return false
		}
		l.ring.expect(s.stream, now)
	}
	from := s.fd
	if s.relay[0] != nil {
		from = s.rfd[0]
	}
	room := l.ring.room()
	n, err := unix.Splice(from, nil, l.fd, l.ring.tail(), room, unix.SPLICE_F_NONBLOCK)
	switch {
	case err == nil && n > 0:
		l.came()
		return s.relay[0] != nil || int(n) == room
	case errors.Is(err, unix.EINTR):
		return true
	case errors.Is(err, unix.EAGAIN) && s.relay[0] != nil:
		return s.refill()
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOMEM):
		return false // no memory: loop tries again after its pause
	}
	s.end(err)
	return false
}

// refill moves what a terminal has into the empty relay. EIO is a terminal that nobody has open.
func (s *source) refill() bool {
	m, err := unix.Splice(s.fd, nil, s.rfd[1], nil, maxBlock, unix.SPLICE_F_NONBLOCK)
	n := int64(m) // an int where that has 32 bits
	if errors.Is(err, unix.EINVAL) {
		n, err = s.copy()
	}
	switch {
	case err == nil && n > 0, errors.Is(err, unix.EINTR):
		return true
	case errors.Is(err, unix.EAGAIN):
		return false
	case errors.Is(err, unix.EIO):
		if s.openPeer() {
			return true
		}
		err = nil
	}
	s.end(err)
	return false
}

// copy is refill for kernels that cannot splice a terminal (5.10 before 5.10.12): a kill
// between the two calls loses what was read.
func (s *source) copy() (int64, error) {
	var buf [4096]byte
	n, err := unix.Read(s.fd, buf[:])
	if n <= 0 {
		return 0, err
	}
	n, err = unix.Write(s.rfd[1], buf[:n]) // the relay is empty: it has room for a page
	return int64(n), err
}

// end stops reading. The files stay open until the run ends.
func (s *source) end(err error) {
	if err != nil && s.log.failed == nil {
		s.log.failed = fmt.Errorf("read output of a container: %w", err)
	}
	s.log.c.forget(s)
	s.done = true
	s.log.change()
}

func (s *source) close() {
	s.closePeer()
	for _, f := range s.files() {
		f.Close()
	}
}

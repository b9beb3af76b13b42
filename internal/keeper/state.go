package keeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// state is what one version of the keeper leaves to the next. A later version
// reads the formats of all before.
type state struct {
	engine engine
	pause  time.Duration
	ending bool
	exits  table
	held   store
}

const stateMagic = "tarekeep\x01" // with the format's number

// appendState writes s in numbers of little-endian order.
func appendState(b []byte, s *state) []byte {
	l := binary.LittleEndian
	flag := func(on bool) byte {
		if on {
			return 1
		}
		return 0
	}
	b = append(b, stateMagic...)
	b = l.AppendUint32(b, uint32(s.engine.pid))
	b = l.AppendUint32(b, uint32(s.engine.sock))
	b = append(b, flag(s.engine.connected), flag(s.ending))
	b = l.AppendUint64(b, uint64(s.engine.since.UnixNano()))
	b = l.AppendUint64(b, uint64(s.pause))
	b = l.AppendUint64(b, s.exits.last)
	b = l.AppendUint32(b, uint32(s.exits.sent))
	b = l.AppendUint32(b, uint32(len(s.exits.list)))
	for _, e := range s.exits.list {
		b = appendExitFields(b, e)
	}
	b = l.AppendUint32(b, uint32(len(s.held)))
	for _, name := range slices.Sorted(maps.Keys(s.held)) {
		b = l.AppendUint16(b, uint16(len(name)))
		b = append(append(b, name...), byte(len(s.held[name])))
		for _, fd := range s.held[name] {
			b = l.AppendUint32(b, uint32(fd))
		}
	}
	return b
}

// cursor reads numbers. After the first that is not there all are 0, and bad.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.bad, c.b = true, nil
		return make([]byte, max(n, 0))
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) byte() int      { return int(c.take(1)[0]) }
func (c *cursor) uint16() int    { return int(binary.LittleEndian.Uint16(c.take(2))) }
func (c *cursor) int32() int     { return int(int32(binary.LittleEndian.Uint32(c.take(4)))) }
func (c *cursor) uint64() uint64 { return binary.LittleEndian.Uint64(c.take(8)) }

// count reads how many of something follow, each of which takes size bytes.
func (c *cursor) count(limit, size int) int {
	n := c.int32()
	if n < 0 || n > limit || n*size > len(c.b) {
		c.bad = true
		return 0
	}
	return n
}

// flag reads a byte that is 0 or 1.
func (c *cursor) flag() bool {
	b := c.byte()
	c.bad = c.bad || b > 1
	return b == 1
}

var errState = errors.New("not a keeper's state")

// parseState reads what appendState has written, and trusts none of it.
func parseState(b []byte) (*state, error) {
	c := cursor{b: b}
	if string(c.take(len(stateMagic))) != stateMagic {
		return nil, fmt.Errorf("%w of a format known here", errState)
	}
	s := &state{held: store{}}
	s.engine.pid, s.engine.sock = c.int32(), c.int32()
	s.engine.connected, s.ending = c.flag(), c.flag()
	s.engine.since = time.Unix(0, int64(c.uint64()))
	s.pause = time.Duration(c.uint64())
	s.exits.last, s.exits.sent = c.uint64(), c.int32()
	last := uint64(0)
	for range c.count(maxExits, exitSize) {
		e := exitFields(c.take(exitSize))
		if e.Seq <= last || e.Seq > s.exits.last {
			c.bad = true
		}
		last = e.Seq
		s.exits.list = append(s.exits.list, e)
	}
	fds := map[int]bool{}
	own := func(fd int) int {
		c.bad = c.bad || fd <= 2 || fds[fd]
		fds[fd] = true
		return fd
	}
	if s.engine.sock != -1 {
		own(s.engine.sock)
	}
	for range c.count(maxHeld, 2+1+1+4) {
		name := string(c.take(c.uint16()))
		files := make([]int, c.byte())
		for i := range files {
			files[i] = own(c.int32())
		}
		if len(name) == 0 || len(name) > maxName || len(files) == 0 || len(files) > maxFiles || s.held[name] != nil {
			c.bad = true
		}
		s.held[name] = files
	}
	switch {
	case c.bad, len(c.b) > 0, len(fds) > maxHeld+1, s.engine.pid < 0, s.pause < 0, s.pause > longestPause,
		s.exits.sent < 0, s.exits.sent > min(len(s.exits.list), Window):
		return nil, errState
	}
	return s, nil
}

// descriptors are all that the state names.
func (s *state) descriptors() (fds []int) {
	if s.engine.sock >= 0 {
		fds = append(fds, s.engine.sock)
	}
	for _, files := range s.held {
		fds = append(fds, files...)
	}
	return fds
}

// setCloseOnExec says whether descriptors are closed at the next execve.
func setCloseOnExec(fds []int, on bool) error {
	flags := 0
	if on {
		flags = unix.FD_CLOEXEC
	}
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, flags); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
	}
	return nil
}

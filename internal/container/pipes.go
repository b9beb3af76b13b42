package container

import (
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// pipes are the descriptors that a start uses and that are closed after it.
type pipes struct{ fds []int }

func (p *pipes) add(fd int) int {
	p.fds = append(p.fds, fd)
	return fd
}

func (p *pipes) close(fd int) {
	for i, have := range p.fds {
		if have == fd {
			_ = unix.Close(fd)
			p.fds = append(p.fds[:i], p.fds[i+1:]...)
			return
		}
	}
}

// give hands a descriptor over to another.
func (p *pipes) give(to *pipes, fd int) {
	if i := slices.Index(p.fds, fd); i >= 0 {
		p.fds = slices.Delete(p.fds, i, i+1)
		to.add(fd)
	}
}

func (p *pipes) closeAll() {
	for _, fd := range p.fds {
		_ = unix.Close(fd)
	}
	p.fds = nil
}

// pair makes a connected pair of sockets for gates or a terminal.
func (p *pipes) pair(kind int) (parent, child int, err error) {
	s, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("make socket pair: %w", err)
	}
	return p.add(s[0]), p.add(s[1]), nil
}

// connect opens a connection to a listening AF_UNIX stream socket.
func (p *pipes) connect(what, path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("connect to %s %s: %w", what, path, err)
	}
	p.add(fd)
	// A path longer than a sun_path is reached through /proc.
	addr := path
	if len(path) > 100 {
		dir, name := splitPath(path)
		d, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, fmt.Errorf("connect to %s %s: %w", what, path, err)
		}
		defer unix.Close(d)
		addr = "/proc/self/fd/" + strconv.Itoa(d) + "/" + name
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: addr}); err != nil {
		return -1, fmt.Errorf("connect to %s %s: %w", what, path, err)
	}
	return fd, nil
}

func splitPath(path string) (dir, name string) {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:i+1], path[i+1:]
		}
	}
	return ".", path
}

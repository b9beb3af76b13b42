package logs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Ends are both ends of a container's standard output and error.
type Ends struct {
	// Out and Err are for the container. Whoever made them closes them once it has them.
	Out, Err *os.File
	// Sources are what Log.Start reads.
	Sources [2]*os.File
}

// Pipe makes the FIFOs out and err, of mode 0600, in a directory that should be in memory,
// instead of those that are there.
//
// The container's ends are open for reading too. So nobody ever finds a pipe without a
// reader: while no engine is there the container goes on until 64 KiB wait in the pipe, and
// then waits, with no SIGPIPE (fifo(7), pipe(7)).
func Pipe(dir string) (*Ends, error) {
	var e Ends
	for i, name := range []string{"out", "err"} {
		// The reader's end has no writer yet and does not wait for one.
		in, out, err := fifo(filepath.Join(dir, name), unix.O_RDONLY, unix.O_RDWR)
		if err != nil {
			e.Close()
			return nil, err
		}
		e.Sources[i] = in
		if i == 0 {
			e.Out = out
		} else {
			e.Err = out
		}
	}
	return &e, nil
}

// Close closes all ends. The FIFOs go with their directory.
func (e *Ends) Close() {
	for _, f := range []*os.File{e.Out, e.Err, e.Sources[0], e.Sources[1]} {
		if f != nil {
			f.Close()
		}
	}
}

// fifo makes a FIFO and opens it twice.
func fifo(path string, first, second int) (a, b *os.File, err error) {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, nil, err
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, nil, &fs.PathError{Op: "make fifo", Path: path, Err: err}
	}
	if a, err = openPlain(path, first); err != nil {
		return nil, nil, err
	}
	if b, err = openPlain(path, second); err != nil {
		a.Close()
		return nil, nil, err
	}
	return a, b, nil
}

// openPlain opens a FIFO without waiting for its other end, and leaves it blocking: package os
// would give a non-blocking one to Go's poller, which would wake for each write to it, and a
// container is entitled to one that blocks.
func openPlain(path string, flags int) (*os.File, error) {
	fd, err := unix.Open(path, flags|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open %s: make it blocking: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

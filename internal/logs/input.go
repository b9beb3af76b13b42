package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Input is where what is typed goes: a container's standard input, or its terminal.
type Input struct {
	// plain is what File returns and file writes to: the same pipe or terminal, in Go's poller.
	plain, file *os.File
}

// StdinPipe makes the FIFO in, of mode 0600, in a directory that should be in memory, and
// returns the container's end and ours.
func StdinPipe(dir string) (container *os.File, in *Input, err error) {
	// A FIFO without a reader cannot be opened for writing only, so the container's end is first.
	container, writer, err := fifo(filepath.Join(dir, "in"), unix.O_RDONLY, unix.O_WRONLY)
	if err != nil {
		return nil, nil, err
	}
	in, err = NewInput(writer)
	if err != nil {
		container.Close()
		return nil, nil, err
	}
	return container, in, nil
}

// NewInput takes over the writing end of a FIFO (from Input.File of the engine before), or the
// master of a terminal. It owns the file, also when it fails.
func NewInput(f *os.File) (*Input, error) {
	fd := -1
	err := withFd(f, func(n int) (err error) {
		if err = unix.SetNonblock(n, true); err == nil {
			fd, err = unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0)
		}
		return err
	})
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open input %s: %w", f.Name(), err)
	}
	return &Input{plain: f, file: os.NewFile(uintptr(fd), f.Name())}, nil
}

// Write waits until the container has room for all of p: what it does not read is 64 KiB at
// most. A container that has closed its input, or ended, is EPIPE or EIO.
func (in *Input) Write(p []byte) (int, error) { return in.file.Write(p) }

// SetDeadline ends a Write that waits, with os.ErrDeadlineExceeded. The zero time: never.
func (in *Input) SetDeadline(t time.Time) error { return in.file.SetWriteDeadline(t) }

// File is what somebody must hold so that the input outlives this process. It stays the
// Input's own, and is used with SyscallConn.
func (in *Input) File() *os.File { return in.plain }

// Close ends the input of a FIFO, once nobody else holds File either; a terminal stays.
func (in *Input) Close() error {
	err := in.file.Close()
	if e := in.plain.Close(); err == nil {
		err = e
	}
	return err
}

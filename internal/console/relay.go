package console

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A terminal that nobody has open is asked again after these pauses: soon, because it is mostly
// reopened at once, and then seldom, because a container may have closed its terminal for good.
const (
	firstPause   = 5 * time.Millisecond
	longestPause = 640 * time.Millisecond
)

// Relay copies between the master of a pseudoterminal and a pair of streams.
type Relay struct {
	master *os.File
	done   chan error    // the outcome of copying the output; sent once
	ending chan struct{} // closed by Drain: who owned the terminal has ended
	mu     sync.Mutex    // held while output is being written
}

// Start begins to copy in to the terminal and the terminal to out.
//
// The copying of the input has no end that could be waited for (a read from the
// keyboard cannot be taken back), so a Relay is for programs that exit after it.
func Start(master *os.File, in io.Reader, out io.Writer) *Relay {
	r := &Relay{master: master, done: make(chan error, 1), ending: make(chan struct{})}
	go r.input(in)
	go func() { r.done <- r.output(out) }()
	return r
}

func (r *Relay) input(in io.Reader) {
	last := byte('\n')
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			last = buf[n-1]
			if _, werr := r.master.Write(buf[:n]); werr != nil {
				return // the other end is gone; output reports it
			}
		}
		if err != nil {
			r.endInput(last)
			return
		}
	}
}

// endInput types the end-of-file character: a pipe that ends has to end the
// program that reads the terminal too. In the middle of a line the first one only
// hands over the line (termios(3), VEOF). Shells that edit lines have the terminal
// raw and know the character all the same.
func (r *Relay) endInput(last byte) {
	var t *unix.Termios
	err := r.control(func(fd int) (err error) {
		t, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	})
	if err != nil {
		return // the other end is gone; output reports it
	}
	eof := []byte{t.Cc[unix.VEOF]}
	if t.Lflag&unix.ICANON != 0 && last != '\n' {
		eof = append(eof, eof[0])
	}
	_, _ = r.master.Write(eof)
}

func (r *Relay) output(out io.Writer) error {
	buf := make([]byte, 32*1024)
	pause := firstPause
	for {
		n, err := r.master.Read(buf)
		if n > 0 {
			pause = firstPause
			r.mu.Lock()
			_, werr := out.Write(buf[:n])
			r.mu.Unlock()
			if werr != nil {
				return fmt.Errorf("write output of terminal: %w", werr)
			}
		}
		switch {
		case errors.Is(err, syscall.EIO), errors.Is(err, io.EOF):
			// A master reads EIO while no process has the slave open. That is no end: systemd hangs its
			// console up (vhangup(2)) and opens it again, for itself and for each login.
			select {
			case <-r.ending:
				return nil
			case <-time.After(pause):
				pause = min(2*pause, longestPause)
			}
		case err != nil:
			return fmt.Errorf("read terminal: %w", err)
		}
	}
}

// Drain waits until the output is complete. To be called after the process that
// owned the terminal has ended. Another process may have inherited the terminal
// and keep it open for ever: then the output so far is waited for, no longer than
// grace beyond the last byte seen to be pending.
func (r *Relay) Drain(grace time.Duration) error {
	close(r.ending)
	for {
		select {
		case err := <-r.done:
			return err
		case <-time.After(grace):
			if closed, pending := r.poll(); !closed && !pending {
				r.mu.Lock() // what was read is also written
				defer r.mu.Unlock()
				return nil
			}
		}
	}
}

func (r *Relay) poll() (closed, pending bool) {
	fds := []unix.PollFd{{Events: unix.POLLIN}}
	err := r.control(func(fd int) error {
		fds[0].Fd = int32(fd)
		_, err := unix.Poll(fds, 0)
		return err
	})
	if err != nil {
		return false, errors.Is(err, unix.EINTR)
	}
	return fds[0].Revents&unix.POLLHUP != 0, fds[0].Revents&unix.POLLIN != 0
}

// control calls do with the master's descriptor, which stays open meanwhile even
// if the caller, who owns the file, closes it.
func (r *Relay) control(do func(fd int) error) error {
	raw, err := r.master.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

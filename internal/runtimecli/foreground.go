package runtimecli

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/console"
)

// consoleFunc takes the master of a process's terminal; see container.CreateOptions.
type consoleFunc = func(master *os.File) error

// lingering is how long output is waited for that comes from processes which
// outlive the one that owned the terminal.
const lingering = 200 * time.Millisecond

// foreground starts a process and stays with it: signals that come to us go to it,
// and so does what is typed when it has a terminal. It returns the exit status.
// start must call before when all is prepared and the process is yet to be made.
func (s *session) foreground(c *cli.Call, start func(console consoleFunc, before func()) (process, error)) (status int, err error) {
	signals := make(chan os.Signal, 128)
	t := &terminal{in: os.Stdin, out: os.Stdout, others: []*os.File{os.Stderr}}
	defer func() { err = errors.Join(err, t.restore()) }()
	p, err := start(t.attach, func() { signal.Notify(signals, forwarded()...) })
	if err != nil {
		return 0, err
	}
	go s.forward(signals, p, t)
	status, err = p.Wait()
	if err != nil {
		return 0, err
	}
	return status, t.drain()
}

func (s *session) forward(signals <-chan os.Signal, p process, t *terminal) {
	for sig := range signals {
		number := unix.Signal(sig.(syscall.Signal))
		if number == unix.SIGWINCH && t.resize() {
			continue // the kernel signals those who read the terminal
		}
		s.log.debugf("forward signal %d", number)
		if err := p.Signal(number); err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, os.ErrProcessDone) {
			s.log.warn(fmt.Sprintf("forward signal %d: %v", number, err))
		}
	}
}

// forwarded are the signals that are passed on: all but those that cannot be
// caught, and SIGCHLD, SIGPIPE and SIGURG, which are about us.
func forwarded() []os.Signal {
	all := make([]os.Signal, 0, 64)
	for n := syscall.Signal(1); n <= 64; n++ {
		switch n {
		case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCHLD, syscall.SIGPIPE, syscall.SIGURG:
		default:
			all = append(all, n)
		}
	}
	return all
}

// terminal joins the process's terminal to the caller's streams, and to the
// caller's own terminal when one of them is one.
type terminal struct {
	in, out *os.File
	others  []*os.File // where else the caller's terminal may be found

	mu     sync.Mutex // guards what follows: signals come while the process is being started
	master *os.File
	host   *os.File
	relay  *console.Relay
	undo   func() error
}

func (t *terminal) attach(master *os.File) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	// The caller's terminal turns newlines into CR NL; once is enough.
	if err := console.ClearONLCR(master); err != nil {
		return err
	}
	t.master = master
	for _, f := range append([]*os.File{t.in, t.out}, t.others...) {
		if console.Is(f) {
			t.host = f
			break
		}
	}
	if t.host != nil {
		t.copySize()
		undo, err := console.MakeRaw(t.host)
		if err != nil {
			return err
		}
		t.undo = undo
	}
	t.relay = console.Start(master, t.in, t.out)
	return nil
}

// resize says whether there is a terminal whose size follows the caller's.
func (t *terminal) resize() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.master == nil || t.host == nil {
		return false
	}
	t.copySize()
	return true
}

func (t *terminal) copySize() {
	size, err := console.GetSize(t.host)
	if err == nil && size != (console.Size{}) {
		_ = console.SetSize(t.master, size) // a terminal of the wrong size is still a terminal
	}
}

func (t *terminal) drain() error {
	t.mu.Lock()
	relay := t.relay
	t.mu.Unlock()
	if relay == nil {
		return nil
	}
	return relay.Drain(lingering)
}

func (t *terminal) restore() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.undo == nil {
		return nil
	}
	undo := t.undo
	t.undo = nil
	return undo()
}

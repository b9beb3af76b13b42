package enginecli

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/console"
)

// A carrying is how the streams of a process come to the person, or program, that called.
type carrying struct {
	stream *stream
	tty    bool
	input  bool
	resize string // path of the request that sets the terminal's size
	client *client
}

// carry copies until the process has no more to say.
func (y *carrying) carry(ctx context.Context, c *cli.Call) (err error) {
	defer y.stream.Close()
	stop := context.AfterFunc(ctx, func() { y.stream.Close() })
	defer stop()
	if y.tty {
		restore, err := y.terminal(ctx, c)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	if y.input {
		// Nobody waits for it: a read from the keyboard cannot be taken back.
		go func() {
			_, _ = io.Copy(y.stream.conn, c.In) // a container that ended takes no more input
			_ = y.stream.conn.CloseWrite()
		}()
	}
	if y.stream.mixed && !y.tty {
		err = copyFrames(c.Out, c.Err, y.stream)
	} else {
		_, err = io.Copy(c.Out, y.stream)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) {
		return nil
	}
	return err
}

// terminal makes the person's terminal the process's: keys pass, and the size follows.
func (y *carrying) terminal(ctx context.Context, c *cli.Call) (restore func() error, err error) {
	restore = func() error { return nil }
	if in, ok := c.In.(*os.File); ok && y.input && console.Is(in) {
		if restore, err = console.MakeRaw(in); err != nil {
			return nil, err
		}
	}
	out, ok := c.Out.(*os.File)
	if !ok || !console.Is(out) {
		return restore, nil
	}
	y.fit(ctx, out)
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-changed:
				y.fit(ctx, out)
			case <-ctx.Done():
				return
			}
		}
	}()
	back := restore
	return func() error {
		signal.Stop(changed)
		cancel()
		<-done
		return back()
	}, nil
}

// fit gives the process's terminal the size of the person's. A process that has just ended has none.
func (y *carrying) fit(ctx context.Context, out *os.File) {
	at, err := console.GetSize(out)
	if err != nil || at.Rows == 0 {
		return
	}
	q := url.Values{"h": {strconv.Itoa(int(at.Rows))}, "w": {strconv.Itoa(int(at.Cols))}}
	_ = y.client.do(ctx, http.MethodPost, y.resize, q, nil, nil)
}

// consoleSize is the size of the caller's terminal, as requests have it; nil without one.
func consoleSize(c *cli.Call) *[2]uint {
	out, ok := c.Out.(*os.File)
	if !ok {
		return nil
	}
	at, err := console.GetSize(out)
	if err != nil || at.Rows == 0 {
		return nil
	}
	return &[2]uint{uint(at.Rows), uint(at.Cols)}
}

// forward sends the container the signals that we get, until the function it returns is called. Without
// a terminal, ^C is for the container, as it would be without an engine in between.
func (s *session) forward(ctx context.Context, id string) (stop func()) {
	got := make(chan os.Signal, 8)
	signal.Notify(got, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case sig := <-got:
				if n, ok := sig.(unix.Signal); ok {
					// One that ended meanwhile needs no signal.
					_ = s.post(ctx, id, "kill", url.Values{"signal": {unix.SignalName(n)}})
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		signal.Stop(got)
		cancel()
		<-done
	}
}

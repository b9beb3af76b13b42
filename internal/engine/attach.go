package engine

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/logs"
)

// AttachOptions of Attach.
type AttachOptions struct {
	Stdin, Stdout, Stderr bool
	Logs                  bool // what was printed before, too
	Stream                bool // and what will be
	// Connect tells the client that it is attached. The client's end is returned: what it types, and what
	// gets the output, of which 1 and 2 are the streams.
	Connect func() (typed io.Reader, write func(stream byte, p []byte) error, err error)
}

// Attach connects a client with the streams of a container. It returns when the container's run ends, when
// the client goes away, or when all of the past is written and that was all it asked for. A container
// that does not run yet is waited for.
func (c *Container) Attach(ctx context.Context, o AttachOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := c.do(c.needStreams); err != nil {
		return err
	}
	v := c.View()
	var a *logs.Attachment
	if o.Stream && (o.Stdout || o.Stderr) { // before the client knows, for it may start the container then
		a = c.io.log.Attach(logs.AttachOptions{History: o.Logs, Stdout: o.Stdout, Stderr: o.Stderr, Hold: attachHold, Skip: true})
		defer a.Close()
	}
	done, err := c.Wait(ctx, container.WaitConditionNextExit)
	if err != nil {
		return err
	}
	typed, write, err := o.Connect()
	if err != nil {
		return err
	}
	c.publish("attach")
	if !o.Stream {
		return c.past(ctx, o, write)
	}
	if o.Stdin && v.Config.OpenStdin {
		go c.typeInto(ctx, typed)
	}
	if a == nil {
		select {
		case <-done:
		case <-ctx.Done():
		}
		return nil
	}
	for {
		chunk, err := a.Next(ctx)
		if err != nil {
			return nil // the end of the run, or of the engine
		}
		if len(chunk.Data) > 0 && write(chunk.Stream, chunk.Data) != nil {
			return nil // the client has gone
		}
	}
}

// attachHold is how long a client that does not read makes the container wait.
const attachHold = 10 * time.Second

// past writes what is in the log.
func (c *Container) past(ctx context.Context, o AttachOptions, write func(byte, []byte) error) error {
	if !o.Logs {
		return nil
	}
	for e, err := range c.io.log.Read(ctx, logs.ReadOptions{Tail: -1, Stdout: o.Stdout, Stderr: o.Stderr}) {
		if err != nil {
			return err
		}
		if err := write(e.Stream, e.Line); err != nil {
			return nil // the client has gone
		}
	}
	return nil
}

// typeInto copies what a client types. Its end is the end of the container's input, if that is to close
// with its first client.
func (c *Container) typeInto(ctx context.Context, from io.Reader) {
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if n > 0 {
			if !c.typed(ctx, b[:n]) {
				return
			}
		}
		if err != nil {
			break
		}
	}
	if v := c.View(); v.Config.StdinOnce && !v.Config.Tty {
		c.post(c.closeInput)
	}
}

// typed writes to the container's input, once it is there.
func (c *Container) typed(ctx context.Context, p []byte) bool {
	in := c.io.awaitInput(ctx)
	if in == nil {
		return false
	}
	_, err := in.Write(p)
	return err == nil
}

// Logs returns what the container printed.
func (c *Container) Logs(ctx context.Context, o logs.ReadOptions) (iter.Seq2[logs.Entry, error], error) {
	if err := c.do(c.needStreams); err != nil {
		return nil, err
	}
	return c.io.log.Read(ctx, o), nil
}

// Resize sets the size of the container's terminal.
func (c *Container) Resize(rows, columns uint16) error {
	v := c.View()
	if !v.Running() {
		return Errorf(Conflict, "container %s is not running", c.id)
	}
	if !v.Config.Tty {
		return nil
	}
	return resize(c.io.input(), rows, columns)
}

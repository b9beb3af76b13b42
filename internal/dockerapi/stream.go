package dockerapi

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"tare.dev/tare/internal/engine"
	"tare.dev/tare/internal/logs"
)

// flush sends what was written so far.
func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// encode writes one line of a stream of JSON.
func encode(w http.ResponseWriter, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return nil // the status is out already
	}
	_, _ = w.Write(append(text, '\n')) // who asked may be gone
	flush(w)
	return nil
}

// Content types of output.
const (
	rawStream         = "application/vnd.docker.raw-stream"
	multiplexedStream = "application/vnd.docker.multiplexed-stream"
)

// frame writes p as a frame: the stream's number, three zeros, the length, the bytes.
func frame(w io.Writer, stream byte, p []byte) error {
	b := make([]byte, 8+len(p))
	b[0] = stream
	binary.BigEndian.PutUint32(b[4:], uint32(len(p)))
	copy(b[8:], p)
	_, err := w.Write(b)
	return err
}

// output returns how output is written: as it is for a terminal, in frames otherwise.
func output(w io.Writer, tty bool) func(stream byte, p []byte) error {
	if tty {
		return func(_ byte, p []byte) error { _, err := w.Write(p); return err }
	}
	return func(stream byte, p []byte) error { return frame(w, stream, p) }
}

func contentType(r *http.Request, tty bool) string {
	if !tty && speaks(r, "1.42") {
		return multiplexedStream
	}
	return rawStream
}

func (a *api) logs(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	o := logs.ReadOptions{Tail: -1, Follow: flag(q, "follow"), Stdout: flag(q, "stdout"), Stderr: flag(q, "stderr")}
	if !o.Stdout && !o.Stderr {
		return statusErrorf(http.StatusBadRequest, "Bad parameters: you must choose at least one stream")
	}
	for name, to := range map[string]*time.Time{"since": &o.Since, "until": &o.Until} {
		if text := q.Get(name); text != "" && text != "0" {
			if *to, err = parseTime(text, time.Now()); err != nil {
				return err
			}
		}
	}
	if t := q.Get("tail"); t != "" && t != "all" {
		n, err := number(q, "tail")
		if err == nil && *n >= 0 {
			o.Tail = *n
		}
	}
	lines, err := c.Logs(r.Context(), o)
	if err != nil {
		return err
	}
	tty := c.View().Config.Tty
	w.Header().Set("Content-Type", contentType(r, tty))
	w.WriteHeader(http.StatusOK)
	flush(w)
	write, stamps := output(w, tty), flag(q, "timestamps")
	for e, err := range lines {
		if err != nil {
			break
		}
		line := e.Line
		if e.Lost > 0 {
			continue // what made room for later output
		}
		if stamps {
			line = append([]byte(e.Time.UTC().Format("2006-01-02T15:04:05.000000000Z07:00")+" "), line...)
		}
		if write(e.Stream, line) != nil {
			break
		}
		if o.Follow && !e.More {
			flush(w)
		}
	}
	return nil
}

// A hijacked connection is a stream both ways.
type hijacked struct {
	net.Conn
	in io.Reader
}

func (h *hijacked) Read(p []byte) (int, error) { return h.in.Read(p) }

// errGone is a client that went away; nobody gets to read it.
var errGone = errors.New("the client has gone")

// hijack takes the connection over, and tells the client.
func hijack(w http.ResponseWriter, r *http.Request, tty bool) (*hijacked, error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, statusErrorf(http.StatusInternalServerError, "take the connection over: %w", err)
	}
	kind := contentType(r, tty)
	answer := "HTTP/1.1 200 OK\r\nContent-Type: " + rawStream + "\r\n\r\n"
	if strings.EqualFold(r.Header.Get("Upgrade"), "tcp") {
		answer = "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + kind + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n" +
			"Api-Version: " + maxVersion + "\r\nOstype: linux\r\n\r\n"
	}
	if _, err := conn.Write([]byte(answer)); err != nil {
		conn.Close()
		return nil, errGone
	}
	return &hijacked{conn, rest(rw.Reader, conn)}, nil
}

// rest reads what the server has read ahead, and then the connection, so that its buffer can go.
func rest(b *bufio.Reader, conn net.Conn) io.Reader {
	n := b.Buffered()
	if n == 0 {
		return conn
	}
	ahead := make([]byte, n)
	_, _ = io.ReadFull(b, ahead) // it is there
	return io.MultiReader(strings.NewReader(string(ahead)), conn)
}

// closeWrite ends our half of the connection; what the other side still sends is of no interest.
func (h *hijacked) closeWrite() {
	if c, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	h.Conn.Close()
}

func (a *api) attach(w http.ResponseWriter, r *http.Request) error {
	c, err := a.on(r)
	if err != nil {
		return err
	}
	v, q := c.View(), r.URL.Query()
	if v.State == "paused" {
		return engine.Errorf(engine.Conflict, "Container %s is paused, unpause the container before attach.", c.ID())
	}
	var conn *hijacked
	o := engine.AttachOptions{
		Stdin: flag(q, "stdin"), Stdout: flag(q, "stdout"), Stderr: flag(q, "stderr"), Logs: flag(q, "logs"), Stream: flag(q, "stream"),
		Connect: func() (io.Reader, func(byte, []byte) error, error) {
			if conn, err = hijack(w, r, v.Config.Tty); err != nil {
				return nil, nil, err
			}
			return conn, output(conn, v.Config.Tty), nil
		},
	}
	err = c.Attach(a.e.Context(), o)
	if conn != nil {
		conn.closeWrite()
		return nil // there is no way to say why it failed
	}
	return err
}

// one makes a writer for two streams: a frame is written as a whole.
func one(write func(byte, []byte) error) func(byte, []byte) error {
	var mu sync.Mutex
	return func(stream byte, p []byte) error {
		mu.Lock()
		defer mu.Unlock()
		return write(stream, p)
	}
}

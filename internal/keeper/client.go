package keeper

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Env is the environment variable by which an engine finds its keeper: the
// number of a descriptor.
const Env = "TARE_KEEPER"

// ErrNone is that no keeper has started this process.
var ErrNone = errors.New("not started by a keeper")

// ErrGone is that the keeper has ended.
var ErrGone = errors.New("the keeper has ended")

// Client is an engine's connection to its keeper. Its methods may be called at
// the same time.
type Client struct {
	sock  *os.File
	exits chan Exit

	mu      sync.Mutex // held while a request is under way
	replies chan reply
	ended   chan struct{} // closed when nothing is read any more
}

type reply struct {
	frame []byte
	files []int
}

// Connect connects an engine to the keeper that has started it, once. Children
// of the engine find neither the variable nor the descriptor.
func Connect() (*Client, error) {
	text, ok := os.LookupEnv(Env)
	if !ok {
		return nil, ErrNone
	}
	_ = os.Unsetenv(Env)
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 0 {
		return nil, fmt.Errorf("connect to the keeper: %s=%q: not a descriptor", Env, text)
	}
	return newClient(fd)
}

func newClient(fd int) (*Client, error) {
	unix.CloseOnExec(fd)
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		return nil, fmt.Errorf("connect to the keeper: descriptor %d is none of its sockets", fd)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("connect to the keeper: %w", err)
	}
	c := &Client{
		sock: os.NewFile(uintptr(fd), "keeper"), exits: make(chan Exit, Window),
		replies: make(chan reply, 1), ended: make(chan struct{}),
	}
	go c.read()
	payload, _, err := c.ask(opHello, string([]byte{version}), nil)
	if err == nil && (len(payload) != 1 || payload[0] < version) {
		err = fmt.Errorf("it is of version %v, and %d is needed", payload, version)
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("connect to the keeper: %w", err)
	}
	return c, nil
}

// Exits tells how processes have ended that the engine has made for the keeper
// (container.CreateOptions.Parent), and all others that the keeper has reaped:
// orphans that it adopts, and helpers that a start makes on its way. Those that
// no engine has acknowledged come first. One may come before the call that made
// the process has returned its number.
//
// Each must be acknowledged, or Exits ends up silent: the keeper is at most
// Window ahead. Exits is closed when the keeper has ended; then the engine can
// do nothing better than to end, and leave containers running.
func (c *Client) Exits() <-chan Exit { return c.exits }

// Ack says that e need not be told again, to this engine or to a later one.
func (c *Client) Ack(e Exit) error {
	if err := c.send(binary.LittleEndian.AppendUint64([]byte{opAck}, e.Seq), nil); err != nil {
		return fmt.Errorf("keeper: acknowledge process %d: %w", e.Pid, err)
	}
	return nil
}

// Put has the keeper hold duplicates of files, 1 to 32, under a name of 1 to 256
// bytes. Those that it held under the name are closed. ENOSPC: it holds 4096.
func (c *Client) Put(name string, files ...*os.File) error {
	fds, err := duplicates(files)
	if err == nil {
		_, _, err = c.ask(opPut, name, fds)
	}
	closeAll(fds)
	if err != nil {
		return fmt.Errorf("keeper: put %q: %w", name, err)
	}
	return nil
}

// Get returns new duplicates of what the keeper holds under a name. It fails
// with an os.ErrNotExist when that is nothing.
func (c *Client) Get(name string) ([]*os.File, error) {
	_, fds, err := c.ask(opGet, name, nil)
	if err != nil {
		return nil, fmt.Errorf("keeper: get %q: %w", name, err)
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), name)
	}
	return files, nil
}

// Names lists what the keeper holds, in order.
func (c *Client) Names() ([]string, error) {
	var all []string
	for more, last := true, ""; more; {
		payload, _, err := c.ask(opNames, last, nil)
		var list []string
		if err == nil {
			list, more, err = parseNames(payload)
		}
		if err != nil {
			return nil, fmt.Errorf("keeper: list names: %w", err)
		}
		all = append(all, list...)
		if more {
			last = list[len(list)-1]
		}
	}
	return all, nil
}

// Drop has the keeper close what it holds under a name. It fails with an
// os.ErrNotExist when that is nothing.
func (c *Client) Drop(name string) error {
	if _, _, err := c.ask(opDrop, name, nil); err != nil {
		return fmt.Errorf("keeper: drop %q: %w", name, err)
	}
	return nil
}

// Upgrade makes the program in the file path that of the next engine, which is
// started when this one ends, with whatever status; path is its argv(0). When that engine has
// connected, the keeper executes the program in its own place, too, under its
// old number and with all that it knows and holds. When it ends before it has
// connected, or does not in half a minute, the old program goes on.
func (c *Client) Upgrade(path string) error {
	full, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("keeper: upgrade to %s: %w", path, err)
	}
	fd, err := unix.Open(full, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == nil {
		_, _, err = c.ask(opUpgrade, full, []int{fd})
		_ = unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("keeper: upgrade to %s: %w", path, err)
	}
	return nil
}

// Close ends the connection, which cannot be opened again.
func (c *Client) Close() error { return c.sock.Close() }

// ask sends a request and waits for its reply.
func (c *Client) ask(op byte, text string, files []int) (payload []byte, fds []int, err error) {
	if 1+len(text) > maxFrame {
		return nil, nil, unix.ENAMETOOLONG
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.send(append([]byte{op}, text...), files); err != nil {
		return nil, nil, err
	}
	var r reply
	select {
	case r = <-c.replies:
	case <-c.ended:
		select {
		case r = <-c.replies: // it was the last thing read
		default:
			return nil, nil, ErrGone
		}
	}
	payload, errno, err := parseReply(r.frame)
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		closeAll(r.files)
		return nil, nil, err
	}
	return payload, r.files, nil
}

func (c *Client) send(b []byte, files []int) error {
	raw, err := c.sock.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = send(int(fd), b, files)
		return !errors.Is(sent, unix.EAGAIN)
	})
	if err == nil {
		err = sent
	}
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, os.ErrClosed) {
		return ErrGone
	}
	return err
}

// read reads until the connection ends.
func (c *Client) read() {
	defer close(c.exits)
	defer close(c.ended)
	raw, err := c.sock.SyscallConn()
	if err != nil {
		return
	}
	in := newInbox()
	for {
		var frame []byte
		var files []int
		var got error
		err := raw.Read(func(fd uintptr) bool {
			frame, files, got = in.receive(int(fd))
			return !errors.Is(got, unix.EAGAIN)
		})
		if err != nil || got != nil || len(frame) == 0 {
			closeAll(files)
			return
		}
		if frame[0] != opExit {
			c.replies <- reply{bytes.Clone(frame), files}
			continue
		}
		closeAll(files)
		e, err := parseExit(frame)
		if err != nil {
			return
		}
		c.exits <- e
	}
}

// duplicates duplicates files, without a change to how they block.
func duplicates(files []*os.File) (fds []int, err error) {
	for _, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return fds, err
		}
		var fd int
		var dup error
		if err := raw.Control(func(own uintptr) { fd, dup = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
			return fds, err
		}
		if dup != nil {
			return fds, dup
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

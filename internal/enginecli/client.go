package enginecli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/moby/moby/api/types/common"
)

// A client talks to the engine over its socket.
type client struct {
	socket string
	http   *http.Client
}

func newClient(socket string) *client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &client{socket, &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true}}}
}

// answerError is an error that the engine answered with.
type answerError struct {
	status int
	text   string
}

func (e *answerError) Error() string { return e.text }

// isStatus tells whether an error is an answer with an HTTP status.
func isStatus(err error, status int) bool {
	e, ok := errors.AsType[*answerError](err)
	return ok && e.status == status
}

// errNoEngine is a socket that nobody listens on.
var errNoEngine = errors.New("no engine answers")

// request sends a request. The caller closes the body of the answer, whose status is a good one.
func (c *client) request(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	req, err := c.newRequest(ctx, method, path, query, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		defer resp.Body.Close()
		return nil, readError(resp)
	}
	return resp, nil
}

func (c *client) newRequest(ctx context.Context, method, path string, query url.Values, body any) (*http.Request, error) {
	var r io.Reader
	kind := ""
	switch b := body.(type) {
	case nil:
	case io.Reader:
		r, kind = b, "application/x-tar"
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r, kind = bytes.NewReader(text), "application/json"
	}
	at := url.URL{Scheme: "http", Host: "tare", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, at.String(), r)
	if err == nil && kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	return req, err
}

// explain says what to do where no engine runs.
func (c *client) explain(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w on %s (to start one: tare daemon)", errNoEngine, c.socket)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // its URL is none that a person knows
	}
	return err
}

// readError reads the API's form of an error.
func readError(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	var e common.ErrorResponse
	if json.Unmarshal(text, &e) != nil || e.Message == "" {
		e.Message = strings.TrimSpace(resp.Status + " " + string(text))
	}
	return &answerError{resp.StatusCode, e.Message}
}

// do sends a request, and reads the answer to out unless that is nil.
func (c *client) do(ctx context.Context, method, path string, query url.Values, body, out any) error {
	resp, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err := io.Copy(io.Discard, resp.Body)
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

func (c *client) get(ctx context.Context, path string, query url.Values, out any) error {
	return c.do(ctx, http.MethodGet, path, query, nil, out)
}

// answers tells whether an engine listens.
func (c *client) answers(ctx context.Context) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// A stream is a connection that was taken over from HTTP: what is read are the container's output, what
// is written is its input.
type stream struct {
	io.Reader // what came with the answer, and what comes after it
	conn      *net.UnixConn
	mixed     bool // output and error output in frames, as without a terminal
}

// Close ends it.
func (s *stream) Close() error { return s.conn.Close() }

// hijack sends a request whose connection becomes a stream.
func (c *client) hijack(ctx context.Context, path string, query url.Values, body any) (*stream, error) {
	req, err := c.newRequest(ctx, http.MethodPost, path, query, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "tcp")
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, c.explain(err)
	}
	r := bufio.NewReader(conn)
	resp, err := roundTrip(req, conn, r)
	if err != nil {
		conn.Close()
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols && resp.StatusCode != http.StatusOK {
		defer conn.Close()
		return nil, readError(resp)
	}
	kind := resp.Header.Get("Content-Type")
	return &stream{r, conn.(*net.UnixConn), !strings.HasSuffix(kind, "raw-stream") || strings.Contains(kind, "multiplexed")}, nil
}

func roundTrip(req *http.Request, conn net.Conn, r *bufio.Reader) (*http.Response, error) {
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	return http.ReadResponse(r, req)
}

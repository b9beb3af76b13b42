package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// errStalled is a connection over which nothing comes any more.
var errStalled = errors.New("connection stalled")

// A guard gives up connections that stall: no byte sent or answered for idle, or less
// than minProgress bytes of a body. A dead link is not told of otherwise: TCP alone
// waits for a quarter of an hour, and forever where it has nothing to send.
type guard struct {
	next http.RoundTripper
	idle time.Duration
}

// minProgress is what must come within idle; a GPRS link brings it in a second.
const minProgress = 1024

// answerFactor times idle is how long a server may think about what it was sent: it
// may compute the digest of a layer in that time.
const answerFactor = 5

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	w := &watch{idle: g.idle, left: g.idle, ctx: ctx, cancel: cancel}
	w.timer = time.AfterFunc(g.idle, func() { cancel(errStalled) })
	req = req.WithContext(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &sent{ReadCloser: req.Body, w: w}
	}
	resp, err := g.next.RoundTrip(req)
	w.answered.Store(true)
	w.timer.Stop()
	if err != nil {
		err = w.cause(err)
		cancel(nil)
		return nil, err
	}
	resp.Body = &received{ReadCloser: resp.Body, w: w}
	return resp, nil
}

// A watch is the clock of one request.
type watch struct {
	idle   time.Duration
	ctx    context.Context // of the request
	cancel context.CancelCauseFunc
	timer  *time.Timer

	answered atomic.Bool // the timer is the response's

	mu   sync.Mutex
	left time.Duration
	got  int
}

// cause says that the clock ended the request, where it did.
func (w *watch) cause(err error) error {
	if context.Cause(w.ctx) == errStalled {
		return errStalled
	}
	return err
}

// sent is a request's body: the transport comes for more when it has sent the last.
type sent struct {
	io.ReadCloser
	w *watch
}

func (s *sent) Read(p []byte) (int, error) {
	if !s.w.answered.Load() {
		s.w.timer.Stop() // the source may take its time
	}
	n, err := s.ReadCloser.Read(p)
	wait := s.w.idle
	if err != nil {
		wait *= answerFactor
	}
	if !s.w.answered.Load() { // a server may answer before it has read all
		s.w.timer.Reset(wait)
	}
	return n, err
}

// received is a response's body.
type received struct {
	io.ReadCloser
	w *watch
}

func (r *received) Read(p []byte) (int, error) {
	w := r.w
	w.mu.Lock()
	defer w.mu.Unlock()
	start := time.Now()
	w.timer.Reset(w.left)
	n, err := r.ReadCloser.Read(p)
	w.timer.Stop()
	if w.got += n; w.got >= minProgress {
		w.got, w.left = 0, w.idle
	} else {
		w.left = max(w.left-time.Since(start), time.Millisecond)
	}
	if err != nil && err != io.EOF {
		err = w.cause(err)
	}
	return n, err
}

func (r *received) Close() error {
	r.w.timer.Stop()
	r.w.cancel(nil)
	return r.ReadCloser.Close()
}

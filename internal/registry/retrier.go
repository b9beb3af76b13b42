package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// A retrier sends a request again after an answer or a failure that may pass.
type retrier struct {
	next http.RoundTripper
	max  int
	note func(string)
	wait time.Duration // before the second try; it doubles from one to the next
}

const (
	firstWait = 500 * time.Millisecond
	maxWait   = 30 * time.Second
	maxAsked  = 5 * time.Minute // the longest wait that a server may ask for
	maxDials  = 2               // who cannot be reached at all has often been misspelt
)

func (r *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	for try := 0; ; try++ {
		resp, err := r.next.RoundTrip(req)
		why := passing(resp, err)
		if why == "" || try >= r.max || isDial(err) && try >= maxDials {
			return resp, err
		}
		wait := pause(r.wait, try)
		if resp != nil {
			asked, given := retryAfter(resp.Header.Get("Retry-After"), time.Now())
			if asked > maxAsked {
				return resp, nil
			}
			if given {
				wait = asked
			}
		}
		again := rewind(req)
		if again == nil {
			return resp, err
		}
		if resp != nil {
			drain(resp)
		}
		r.note(fmt.Sprintf("%s: %s; again in %s", req.URL.Host, why, wait.Round(100*time.Millisecond)))
		if err := sleep(req.Context(), wait); err != nil {
			return nil, err
		}
		req = again
	}
}

// rewind returns req as it was before it was sent; nil if its body cannot be had again.
func rewind(req *http.Request) *http.Request {
	if req.Body == nil || req.Body == http.NoBody {
		return req
	}
	if req.GetBody == nil {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil
	}
	again := req.Clone(req.Context())
	again.Body = body
	return again
}

// passing says in words why a request may do better the next time; "" if it will not.
func passing(resp *http.Response, err error) string {
	if err != nil {
		if isPassing(err) {
			return cause(err).Error()
		}
		return ""
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return (&statusError{status: resp.StatusCode}).Error()
	}
	return ""
}

// isPassing tells whether a failure of the network may pass.
func isPassing(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if errors.Is(err, errStalled) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return true
	}
	for _, e := range []syscall.Errno{
		syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.ETIMEDOUT,
		syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EHOSTUNREACH, syscall.ECONNREFUSED,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return !dns.IsNotFound && (dns.IsTemporary || dns.IsTimeout)
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// isDial tells whether a connection was not even made.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// pause is how long to wait after a number of tries: twice as long each time, and by
// a fifth more or less, so that devices that lost one server do not return as one.
func pause(first time.Duration, try int) time.Duration {
	wait := min(first<<min(try, 10), maxWait)
	return wait*4/5 + rand.N(wait*2/5)
}

// retryAfter reads the header of that name: seconds, or a date (RFC 9110, 10.2.3).
func retryAfter(s string, now time.Time) (wait time.Duration, given bool) {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// drain ends a response so that its connection can be used again, if little is left of it.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}

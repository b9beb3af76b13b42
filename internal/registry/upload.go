package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// An upload is a blob on its way to a registry.
type upload struct {
	*Client
	desc    v1.Descriptor
	at      *url.URL // where it goes on; nil before it is begun
	foreign bool     // that is somebody else's storage, with leave to write in its address
	from    int64    // what the registry has of it
	refused bool     // the registry has refused what it said it had
}

func (c *Client) put(ctx context.Context, d v1.Descriptor, r io.Reader) error {
	seeker, _ := r.(io.Seeker)
	var start int64
	if seeker != nil {
		var err error
		if start, err = seeker.Seek(0, io.SeekCurrent); err != nil {
			seeker = nil // a pipe has the method too
		}
	}
	u := upload{Client: c, desc: d}
	for try := 0; ; try++ {
		err := u.send(ctx, r)
		if err == nil {
			return nil
		}
		if seeker == nil || !u.passes(err) || try >= c.a.o.Retries {
			return err
		}
		c.a.o.Note(fmt.Sprintf("push %s: %s; again", d.Digest, cause(err)))
		if err := sleep(ctx, pause(c.a.retrier.wait, try)); err != nil {
			return err
		}
		if u.resume(ctx) {
			try = 0 // a link may break any number of times, if more comes over each time
		}
		if _, err := seeker.Seek(start, io.SeekStart); err != nil {
			return err
		}
		// Read, not sought: a blob that comes from elsewhere is verified on its way.
		if _, err := io.CopyN(io.Discard, r, u.from); err != nil {
			return err
		}
	}
}

// passes tells whether an upload that failed may do better the next time.
func (u *upload) passes(err error) bool {
	var answer *statusError
	switch {
	case !errors.As(err, &answer):
		return isPassing(err)
	case answer.status >= 500:
		return true
	}
	u.refused = u.from > 0
	return u.refused
}

// resume asks the registry what it has of the upload, and tells whether that has become more. Some
// keep nothing of what was cut (distribution before v3): then the upload begins anew
// (specification, "Pushing a blob in chunks").
func (u *upload) resume(ctx context.Context) (more bool) {
	before, at := u.from, u.at
	u.at, u.from = nil, 0
	if at == nil || u.foreign || u.refused {
		return false
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return false
	}
	resp, err := u.a.send(req, u.origin(), u.pushScope())
	if err != nil {
		return false // the next request tells why
	}
	drain(resp)
	has, ok := kept(resp)
	if !ok || has > u.desc.Size {
		return false
	}
	if at, err = location(resp); err != nil || !sameOrigin(at, req.URL) {
		return false
	}
	u.at, u.from = at, has
	return has > before
}

// kept reads how much of an upload a registry says it has. "0-0" is none for some, a byte for others.
func kept(resp *http.Response) (n int64, ok bool) {
	first, last, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Range"), "bytes="), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	return n + 1, resp.StatusCode == http.StatusNoContent && first == "0" && err == nil && n > 0 && n < math.MaxInt64
}

// begin asks for a place to send the blob to.
func (u *upload) begin(ctx context.Context) error {
	resp, err := u.write(ctx, http.MethodPost, "blobs/uploads/", nil, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusAccepted {
		return refusal(resp)
	}
	drain(resp)
	if u.at, err = location(resp); err != nil {
		return err
	}
	u.foreign = !sameOrigin(u.at, resp.Request.URL)
	return nil
}

// send sends what the registry does not have in one request (specification, "POST then PUT").
func (u *upload) send(ctx context.Context, r io.Reader) error {
	if u.at == nil {
		if err := u.begin(ctx); err != nil {
			return err
		}
	}
	left := u.desc.Size - u.from
	body := &lent{r: &exact{ReadCloser: io.NopCloser(r), left: left}, done: make(chan struct{})}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.place(), body)
	if err != nil {
		return err
	}
	if left == 0 {
		req.Body = http.NoBody
		close(body.done)
	}
	req.ContentLength = left
	req.Header.Set("Content-Type", "application/octet-stream")
	if u.from > 0 && left > 0 {
		req.Header.Set("Content-Range", fmt.Sprintf("%d-%d", u.from, u.desc.Size-1))
	}
	var resp *http.Response
	if u.foreign { // not with our credentials
		resp, err = u.a.http.Do(req)
	} else {
		resp, err = u.a.send(req, u.origin(), u.pushScope())
	}
	<-body.done // net/http may read on for a while after an error, and r is the caller's
	if body.err != nil && body.err != io.EOF {
		err = errors.Join(body.err, discard(resp, err))
		return err
	}
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return refusal(resp)
	}
	drain(resp)
	return nil
}

// place is the address of what is to come, with the digest of the whole.
func (u *upload) place() string {
	at := *u.at
	q := at.Query()
	q.Set("digest", string(u.desc.Digest))
	at.RawQuery = q.Encode()
	return at.String()
}

// discard ends a response that nobody wants, and returns nil.
func discard(resp *http.Response, err error) error {
	if err == nil {
		drain(resp)
	}
	return nil
}

// location returns where an upload goes on. A registry behind a proxy that ends TLS
// may not know of it and say http.
func location(resp *http.Response) (*url.URL, error) {
	at, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("no place for the upload: %w", err)
	}
	asked := resp.Request.URL
	if asked.Scheme == "https" && at.Scheme == "http" && at.Hostname() == asked.Hostname() {
		at.Scheme, at.Host = asked.Scheme, asked.Host
	}
	if at.Scheme != "https" && at.Scheme != asked.Scheme {
		return nil, fmt.Errorf("upload sent on from %s to %s://%s", asked.Scheme, at.Scheme, at.Host)
	}
	return at, nil
}

// lent is a body whose reader its owner wants back.
type lent struct {
	mu   sync.Mutex // Close may come while Read is under way
	r    io.Reader
	err  error // of r; read after done
	done chan struct{}
}

func (l *lent) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.done:
		return 0, http.ErrBodyReadAfterClose
	default:
	}
	n, err := l.r.Read(p)
	l.err = err
	return n, err
}

// Close is called by net/http when it wants no more.
func (l *lent) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Put pushes a blob: the d.Size bytes of r. If r is an io.Seeker it is read again from
// where it stood after a failure that may pass. The registry verifies the digest.
func (c *Client) Put(ctx context.Context, d v1.Descriptor, r io.Reader) error {
	err := c.put(ctx, d, r)
	if err != nil {
		return fault("push", c.object(string(d.Digest)), c.origin().name, err)
	}
	return nil
}

// Mount makes a blob of another repository at the same registry one of this one, and
// tells whether the registry did.
func (c *Client) Mount(ctx context.Context, d v1.Descriptor, from string) (bool, error) {
	query := url.Values{"mount": {string(d.Digest)}, "from": {from}}
	resp, err := c.write(ctx, http.MethodPost, "blobs/uploads/", query, nil, "repository:"+from+":pull")
	if err != nil {
		return false, fault("mount", c.object(string(d.Digest)), c.origin().name, err)
	}
	switch resp.StatusCode {
	case http.StatusCreated:
		drain(resp)
		return true, nil
	case http.StatusAccepted:
		c.cancel(ctx, resp)
		return false, nil
	}
	return false, fault("mount", c.object(string(d.Digest)), c.origin().name, refusal(resp))
}

// cancel ends an upload that a registry has begun instead of mounting.
func (c *Client) cancel(ctx context.Context, begun *http.Response) {
	drain(begun)
	at, err := location(begun)
	if err != nil || !sameOrigin(at, begun.Request.URL) {
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, at.String(), nil)
	if err != nil {
		return
	}
	// A registry forgets uploads by itself too: that this one is gone is only politeness.
	if resp, err := c.a.send(req, c.origin(), c.pushScope()); err == nil {
		drain(resp)
	}
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
	for try := 0; ; try++ {
		err := c.upload(ctx, d, r)
		if err == nil {
			return nil
		}
		var answer *statusError
		passes := isPassing(err) || errors.As(err, &answer) && answer.status >= 500
		if seeker == nil || !passes || try >= c.a.o.Retries {
			return err
		}
		c.a.o.Note(fmt.Sprintf("push %s: %s; again", d.Digest, cause(err)))
		if err := sleep(ctx, pause(c.a.retrier.wait, try)); err != nil {
			return err
		}
		if _, err := seeker.Seek(start, io.SeekStart); err != nil {
			return err
		}
	}
}

// upload begins an upload and sends the blob in one request (specification, "POST then PUT").
func (c *Client) upload(ctx context.Context, d v1.Descriptor, r io.Reader) error {
	resp, err := c.write(ctx, http.MethodPost, "blobs/uploads/", nil, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusAccepted {
		return refusal(resp)
	}
	drain(resp)
	at, err := location(resp)
	if err != nil {
		return err
	}
	q := at.Query()
	q.Set("digest", string(d.Digest))
	at.RawQuery = q.Encode()

	body := &lent{r: &exact{ReadCloser: io.NopCloser(r), left: d.Size}, done: make(chan struct{})}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, at.String(), body)
	if err != nil {
		return err
	}
	if d.Size == 0 {
		req.Body = http.NoBody
		close(body.done)
	}
	req.ContentLength = d.Size
	req.Header.Set("Content-Type", "application/octet-stream")
	if sameOrigin(at, resp.Request.URL) {
		resp, err = c.a.send(req, c.origin(), c.pushScope())
	} else {
		// Somebody else's storage, with leave to write in its address: not with our credentials.
		resp, err = c.a.http.Do(req)
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

// PutManifest pushes a manifest or index under a name: a tag, or "" for its digest
// alone. What it has for a subject will list it among its referrers.
func (c *Client) PutManifest(ctx context.Context, name string, d v1.Descriptor, text []byte) error {
	if name == "" {
		name = string(d.Digest)
	}
	if err := c.putManifest(ctx, name, d, text); err != nil {
		return fault("push", c.object(name), c.origin().name, err)
	}
	return nil
}

func (c *Client) putManifest(ctx context.Context, name string, d v1.Descriptor, text []byte) error {
	header := http.Header{"Content-Type": {d.MediaType}}
	resp, err := c.write(ctx, http.MethodPut, "manifests/"+name, nil, &document{header, text})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return refusal(resp)
	}
	drain(resp)
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != string(d.Digest) {
		return fmt.Errorf("registry has stored %s", printable(got))
	}
	if resp.Header.Get("OCI-Subject") != "" {
		return nil // the registry keeps the list
	}
	return c.addReferrer(ctx, d, text)
}

// A document is a request's body that is small enough to be sent again.
type document struct {
	header http.Header
	text   []byte
}

func (c *Client) pushScope() scope {
	return scope("repository:" + c.origin().repository + ":pull,push")
}

// write sends a request to the registry itself that changes something.
func (c *Client) write(ctx context.Context, method, part string, query url.Values, doc *document, more ...string) (*http.Response, error) {
	e := c.origin()
	var body io.Reader
	if doc != nil {
		body = bytes.NewReader(doc.text)
	}
	req, err := http.NewRequestWithContext(ctx, method, e.url(c.a.scheme(ctx, e.host), part, query), body)
	if err != nil {
		return nil, err
	}
	if doc != nil {
		req.Header = doc.header
	}
	what := c.pushScope()
	for _, s := range more {
		what += scope(" " + s)
	}
	return c.a.send(req, e, what)
}

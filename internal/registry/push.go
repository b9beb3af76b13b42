package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Put pushes a blob: the d.Size bytes of r. If r is an io.Seeker it is read again from
// where it stood after a failure that may pass; what the registry has kept of it by then is
// not sent again. The registry verifies the digest.
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

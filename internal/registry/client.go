package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/reference"
)

// maxManifest is the most bytes of a manifest or index, as the specification has it
// ("Pushing Manifests") and registries too.
const maxManifest = 4 << 20

// The media types of docker, from before there were OCI's.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerSchema1  = "application/vnd.docker.distribution.manifest.v1"
)

const acceptManifests = v1.MediaTypeImageIndex + ", " + v1.MediaTypeImageManifest + ", " + dockerIndex + ", " + dockerManifest

// A Client is one repository at a registry and at its mirrors. Its methods may be used
// at the same time.
type Client struct {
	a    *Access
	ref  reference.Ref
	ends []endpoint // mirrors, then the registry

	mu      sync.Mutex
	from    map[digest.Digest]string // the mirror that a blob came from last
	suspect map[string]bool          // mirrors whose bytes were wrong
}

// Client returns the repository that ref is in. It touches no network.
func (a *Access) Client(ref reference.Ref) *Client {
	return &Client{a: a, ref: ref, ends: a.endpoints(ref)}
}

// Resolve returns the descriptor of the manifest or index with a name, a tag or a digest.
func (c *Client) Resolve(ctx context.Context, name string) (v1.Descriptor, error) {
	var d v1.Descriptor
	err := c.read(ctx, "resolve", c.object(name), func(e endpoint) (err error) {
		d, err = c.head(ctx, e, name)
		if errors.Is(err, errUnclear) {
			d, _, err = c.get(ctx, e, name, "")
		}
		return err
	})
	return d, err
}

// errUnclear is an answer to HEAD that lacks what only some registries put there.
var errUnclear = errors.New("no digest or length in the answer")

func (c *Client) head(ctx context.Context, e endpoint, name string) (v1.Descriptor, error) {
	header := http.Header{"Accept": {acceptManifests}}
	resp, err := c.do(ctx, e, http.MethodHead, "manifests/"+name, header)
	if err != nil {
		return v1.Descriptor{}, err
	}
	drain(resp)
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusMethodNotAllowed, http.StatusBadRequest, http.StatusForbidden:
		return v1.Descriptor{}, errUnclear // a proxy that lets only GET through, or an answer that needs its text
	default:
		return v1.Descriptor{}, &statusError{status: resp.StatusCode}
	}
	sum, err := reference.ParseDigest(resp.Header.Get("Docker-Content-Digest"))
	mediaType := mediaTypeOf(resp.Header.Get("Content-Type"), nil)
	if err != nil || resp.ContentLength <= 0 || mediaType == "" {
		return v1.Descriptor{}, errUnclear
	}
	return describe(name, mediaType, sum, resp.ContentLength)
}

// mediaTypeOf returns the type of a manifest by its header, or by its own word where the
// header says nothing of it, as of servers that know only files; "" if it is unknown.
func mediaTypeOf(contentType string, text []byte) string {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err == nil && (isManifest(mediaType) || strings.HasPrefix(mediaType, dockerSchema1)) {
		return mediaType
	}
	var m struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Layers        json.RawMessage `json:"layers"`
	}
	switch {
	case json.Unmarshal(text, &m) != nil:
		return ""
	case m.MediaType != "":
		return m.MediaType
	case m.SchemaVersion == 1:
		return dockerSchema1
	case m.Manifests != nil:
		return v1.MediaTypeImageIndex
	case m.Layers != nil:
		return v1.MediaTypeImageManifest
	}
	return mediaType
}

// describe makes a descriptor of what a registry says of a manifest.
func describe(name, mediaType string, sum digest.Digest, size int64) (v1.Descriptor, error) {
	if strings.HasPrefix(mediaType, dockerSchema1) {
		return v1.Descriptor{}, errors.New("is in docker's schema 1, which has been withdrawn: push it again with a newer tool")
	}
	if size > maxManifest {
		return v1.Descriptor{}, fmt.Errorf("manifest of %d bytes, more than %d", size, maxManifest)
	}
	if want, err := reference.ParseDigest(name); err == nil && want != sum {
		return v1.Descriptor{}, fmt.Errorf("registry answers with %s", sum)
	}
	return v1.Descriptor{MediaType: mediaType, Digest: sum, Size: size}, nil
}

// Manifest returns the manifest or index that d describes, verified.
func (c *Client) Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	var text []byte
	err := c.read(ctx, "fetch", c.object(string(d.Digest)), func(e endpoint) error {
		got, body, err := c.get(ctx, e, string(d.Digest), d.MediaType)
		if err == nil && d.Size > 0 && d.Size != got.Size {
			err = fmt.Errorf("manifest of %d bytes, want %d", got.Size, d.Size)
		}
		text = body
		return err
	})
	return text, err
}

// get reads a manifest by name and verifies it against the name, if that is a digest.
func (c *Client) get(ctx context.Context, e endpoint, name, mediaType string) (v1.Descriptor, []byte, error) {
	header := http.Header{"Accept": {acceptManifests}}
	if mediaType != "" && !strings.Contains(acceptManifests, mediaType) {
		header.Set("Accept", mediaType+", "+acceptManifests)
	}
	resp, err := c.do(ctx, e, http.MethodGet, "manifests/"+name, header)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return v1.Descriptor{}, nil, refusal(resp)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	algorithm := digest.SHA256
	if want, err := reference.ParseDigest(name); err == nil {
		algorithm = want.Algorithm()
	}
	if !algorithm.Available() {
		return v1.Descriptor{}, nil, fmt.Errorf("digest algorithm %s is not supported", algorithm)
	}
	d, err := describe(name, mediaTypeOf(resp.Header.Get("Content-Type"), text), algorithm.FromBytes(text), int64(len(text)))
	return d, text, err
}

// Open returns the bytes of a blob from offset on, unverified, and never more than d
// has. A stream that ends early or breaks returns an error; opened again where it
// ended, it goes on.
func (c *Client) Open(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if offset < 0 || offset > d.Size {
		return nil, fault("fetch", c.object(string(d.Digest)), "", fmt.Errorf("offset %d of %d bytes", offset, d.Size))
	}
	return c.OpenPart(ctx, d, offset, d.Size)
}

// OpenPart opens a blob from a byte up to, and without, another. So the registry sends no more than is
// read, and the connection can be used again. One that knows no ranges is errors.ErrUnsupported.
func (c *Client) OpenPart(ctx context.Context, d v1.Descriptor, from, to int64) (io.ReadCloser, error) {
	var stream io.ReadCloser
	object := c.object(string(d.Digest))
	if from < 0 || from > to || to > d.Size {
		return nil, fault("fetch", object, "", fmt.Errorf("bytes %d to %d of %d", from, to, d.Size))
	}
	if from == to {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	err := c.read(ctx, "fetch", object, func(e endpoint) (err error) {
		if stream, err = c.open(ctx, e, d, from, to); err == nil {
			c.came(d, e)
		}
		return err
	})
	return stream, err
}

// came remembers which mirror a blob comes from.
func (c *Client) came(d v1.Descriptor, e endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.from, d.Digest)
	if e.mirror {
		if c.from == nil {
			c.from = map[digest.Digest]string{}
		}
		c.from[d.Digest] = e.host
	}
}

// Suspect tells that the bytes of a blob were wrong. If they came from a mirror, nothing
// more is read from it, and it is worth reading the blob again: then Suspect returns true.
func (c *Client) Suspect(d v1.Descriptor) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	host, mirrored := c.from[d.Digest]
	if mirrored {
		if c.suspect == nil {
			c.suspect = map[string]bool{}
		}
		c.suspect[host] = true
	}
	return mirrored
}

func (c *Client) isSuspect(host string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.suspect[host]
}

func (c *Client) open(ctx context.Context, e endpoint, d v1.Descriptor, offset, end int64) (io.ReadCloser, error) {
	header := http.Header{}
	switch {
	case end < d.Size:
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, end-1))
	case offset > 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := c.do(ctx, e, http.MethodGet, "blobs/"+string(d.Digest), header)
	if err != nil {
		return nil, err
	}
	if end < d.Size && resp.StatusCode == http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("range of bytes: %w", errors.ErrUnsupported)
	}
	skip, err := place(resp, d.Size, offset)
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	// A server that knows no ranges sends it all again.
	if _, err := io.CopyN(io.Discard, resp.Body, skip); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return &exact{ReadCloser: resp.Body, left: end - offset}, nil
}

// place returns how many bytes of a response stand before offset.
func place(resp *http.Response, size, offset int64) (skip int64, err error) {
	switch resp.StatusCode {
	case http.StatusOK:
		if resp.ContentLength >= 0 && resp.ContentLength != size {
			return 0, fmt.Errorf("blob of %d bytes, want %d", resp.ContentLength, size)
		}
		return offset, nil
	case http.StatusPartialContent:
		unit, rest, _ := strings.Cut(resp.Header.Get("Content-Range"), " ")
		span, total, _ := strings.Cut(rest, "/")
		first, _, _ := strings.Cut(span, "-")
		start, err := strconv.ParseInt(first, 10, 64)
		if unit != "bytes" || err != nil || start < 0 || start > offset || (total != "*" && total != strconv.FormatInt(size, 10)) {
			return 0, fmt.Errorf("range %q, want bytes from %d of %d", printable(resp.Header.Get("Content-Range")), offset, size)
		}
		return offset - start, nil
	}
	return 0, refusal(resp)
}

// exact is a body that must have left bytes: fewer is an error, and more are not read.
type exact struct {
	io.ReadCloser
	left int64
}

func (x *exact) Read(p []byte) (int, error) {
	if x.left == 0 {
		return 0, io.EOF
	}
	n, err := x.ReadCloser.Read(p[:min(int64(len(p)), x.left)])
	x.left -= int64(n)
	if err == io.EOF && x.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Has tells whether the registry itself, not a mirror, has a blob or a manifest.
func (c *Client) Has(ctx context.Context, d v1.Descriptor) (bool, error) {
	part := "blobs/"
	header := http.Header{}
	if isManifest(d.MediaType) {
		part = "manifests/"
		header.Set("Accept", d.MediaType)
	}
	e := c.origin()
	resp, err := c.do(ctx, e, http.MethodHead, part+string(d.Digest), header)
	if err == nil {
		drain(resp)
		switch resp.StatusCode {
		case http.StatusOK:
			return true, nil
		case http.StatusNotFound:
			return false, nil
		}
		err = &statusError{status: resp.StatusCode}
	}
	return false, fault("look for", c.object(string(d.Digest)), e.name, err)
}

func isManifest(mediaType string) bool {
	switch mediaType {
	case v1.MediaTypeImageIndex, v1.MediaTypeImageManifest, dockerIndex, dockerManifest:
		return true
	}
	return false
}

// read asks the mirrors and then the registry until one does what it should.
func (c *Client) read(ctx context.Context, op, object string, ask func(endpoint) error) error {
	for _, e := range c.ends {
		if e.mirror && (c.a.hosts.isDown(e.host) || c.isSuspect(e.host)) {
			continue
		}
		err := ask(e)
		if err == nil {
			return nil
		}
		err = fault(op, object, e.name, err)
		if !e.mirror || ctx.Err() != nil {
			return err
		}
		var f *Error
		if !errors.Is(err, fs.ErrNotExist) {
			c.a.o.Note("mirror " + e.host + ": " + err.Error())
		}
		if errors.As(err, &f) && f.Status == 0 && f.Temporary() {
			c.a.hosts.setDown(e.host)
		}
	}
	panic("registry: a repository is at no endpoint")
}

func (c *Client) origin() endpoint { return c.ends[len(c.ends)-1] }

// object returns how errors name what is at stake.
func (c *Client) object(name string) string {
	if strings.Contains(name, ":") {
		return c.ref.Name() + "@" + name
	}
	return c.ref.Name() + ":" + name
}

func (c *Client) do(ctx context.Context, e endpoint, method, part string, header http.Header) (*http.Response, error) {
	return c.query(ctx, e, method, part, header, nil)
}

// query sends a request without a body that only reads.
func (c *Client) query(ctx context.Context, e endpoint, method, part string, header http.Header, query url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, e.url(c.a.scheme(ctx, e.host), part, query), nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	return c.a.send(req, e, scope("repository:"+e.repository+":pull"))
}

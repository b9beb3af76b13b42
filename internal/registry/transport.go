package registry

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A router is one http.Transport for all hosts but those with certificates of their own.
type router struct {
	trust trust
	make  func(*tls.Config) *http.Transport

	mu   sync.Mutex
	used map[string]*http.Transport // by host; several have the same
	all  *http.Transport
}

func (r *router) RoundTrip(req *http.Request) (*http.Response, error) {
	t, err := r.transport(req.URL.Host)
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	return t.RoundTrip(req)
}

func (r *router) transport(host string) (*http.Transport, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.used[host]; t != nil {
		return t, nil
	}
	config, own, err := r.trust.config(host)
	if err != nil {
		return nil, err
	}
	t := r.all
	if own || t == nil {
		t = r.make(config)
	}
	if !own {
		r.all = t
	}
	if r.used == nil {
		r.used = map[string]*http.Transport{}
	}
	r.used[host] = t
	return t, nil
}

func (r *router) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.used {
		t.CloseIdleConnections()
	}
}

// newTransport returns a transport for bad links and little memory.
func newTransport(config *tls.Config, p proxy) *http.Transport {
	t := &http.Transport{
		Proxy:                  p.choose,
		DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    dialTimeout,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        90 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		WriteBufferSize:        32 << 10,
		// A blob is stored as it is: its digest is over the compressed bytes, and a range of it is too.
		DisableCompression: true,
		Protocols:          new(http.Protocols),
	}
	// In HTTP/2 net/http buffers up to 4 MiB of each stream that we do not read fast
	// enough; a TCP window is the kernel's, and smaller.
	t.Protocols.SetHTTP1(true)
	return t
}

const maxRedirects = 10

// checkRedirect lets no credential out of the origin it was meant for (net/http sends
// it to subdomains and other ports too), and no https request into plain HTTP.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if req.URL.Scheme != "https" && via[len(via)-1].URL.Scheme == "https" {
		return fmt.Errorf("redirect from https to %s://%s", req.URL.Scheme, req.URL.Host)
	}
	if req.URL.Scheme != "https" && req.URL.Scheme != "http" {
		return errors.New("redirect to " + req.URL.Scheme)
	}
	for _, r := range append(via[1:], req) {
		if !sameOrigin(via[0].URL, r.URL) {
			req.Header.Del("Authorization")
			req.Header.Del("Cookie")
		}
	}
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && hostPort(a) == hostPort(b)
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}

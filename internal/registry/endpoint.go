package registry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"tare.dev/tare/internal/reference"
)

// An endpoint is one place where a repository is: the registry itself, or a mirror.
type endpoint struct {
	name       string // of the host, as certificates and credentials have it
	host       string // to connect to
	repository string // there
	mirror     bool
}

// endpoints returns the mirrors of a repository and then the registry.
func (a *Access) endpoints(ref reference.Ref) []endpoint {
	var all []endpoint
	for _, mirror := range a.o.Mirrors[ref.Registry] {
		host, prefix, _ := strings.Cut(strings.TrimSuffix(mirror, "/"), "/")
		if prefix != "" {
			prefix += "/"
		}
		all = append(all, endpoint{name: host, host: host, repository: prefix + ref.Repository, mirror: true})
	}
	host := ref.Registry
	if host == "docker.io" {
		host = "registry-1.docker.io" // that name leads to a web site
	}
	return append(all, endpoint{name: ref.Registry, host: host, repository: ref.Repository})
}

// hosts is what was learned of hosts.
type hosts struct {
	mu     sync.Mutex
	scheme map[string]string
	down   map[string]bool // mirrors that did not answer
}

func (h *hosts) isDown(host string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down[host]
}

func (h *hosts) setDown(host string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down == nil {
		h.down = map[string]bool{}
	}
	h.down[host] = true
}

// scheme returns how a host is spoken to. See Options.Insecure.
func (a *Access) scheme(ctx context.Context, host string) string {
	for _, name := range a.o.Insecure {
		if name == host {
			return "http"
		}
	}
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	if !isLoopback(strings.ToLower(name)) {
		return "https"
	}
	a.hosts.mu.Lock()
	defer a.hosts.mu.Unlock()
	if s := a.hosts.scheme[host]; s != "" {
		return s
	}
	s, sure := a.probe(ctx, host)
	if sure {
		if a.hosts.scheme == nil {
			a.hosts.scheme = map[string]string{}
		}
		a.hosts.scheme[host] = s
	}
	return s
}

// probe finds out whether a host of this machine speaks TLS.
func (a *Access) probe(ctx context.Context, host string) (scheme string, sure bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, "https://"+host+"/v2/", nil)
	if err != nil {
		return "https", false
	}
	resp, err := (&guard{next: a.transport, idle: a.o.Idle}).RoundTrip(req)
	if err == nil {
		drain(resp)
		return "https", true
	}
	// Some servers hang up on what is not HTTP.
	if isPlain(err) || errors.Is(err, io.EOF) {
		return "http", true
	}
	return "https", false
}

// url returns the address of part of a repository: "manifests/latest".
func (e endpoint) url(scheme, part string, query url.Values) string {
	u := url.URL{Scheme: scheme, Host: e.host, Path: "/v2/" + e.repository + "/" + part, RawQuery: query.Encode()}
	return u.String()
}

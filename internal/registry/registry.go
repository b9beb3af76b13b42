// Package registry is images at a registry (OCI distribution specification, Docker
// registry v2), to fetch from and to push to.
//
// Access is the way there: credentials, certificates, proxies, mirrors, time-outs,
// connections. A Client is one repository. What a Client returns as a manifest has the
// digest that was asked for; what it returns as a blob is a stream that the caller
// verifies (package blob). No blob is held in memory, no manifest above 4 MiB is read.
// Credentials go to the registry and to the token server it names, and to nobody else,
// wherever they redirect to.
//
// It is written over net/http, not over oras-go: that library compiles its regular
// expressions at each start of the program (0.28 ms and 130 KB on amd64, a multiple on
// the devices), refuses every token server with a private address, begins a whole
// download before it seeks, and has no mirrors. Measured with v2.6.4.
package registry

import (
	"crypto/tls"
	"net/http"
	"time"
)

// Options say how registries are reached. The zero value works: https, the system's
// certificate authorities and those of /etc/tare/certs.d and /etc/docker/certs.d,
// the credential files of tare, podman and docker, the proxy of the environment.
type Options struct {
	// Insecure are the hosts, as in the names of images ("host:port"), that are spoken
	// to in plain HTTP. Loopback (localhost, 127.0.0.0/8, [::1]) needs no permission:
	// it is asked for TLS first, and spoken to in plain HTTP if it has none.
	Insecure []string

	// Mirrors are asked, in order, before the registry with the name of the key:
	// "docker.io": {"mirror.example:5000", "other.example/prefix"}. Nothing is pushed
	// to them.
	Mirrors map[string][]string

	CAFiles  []string // PEM files of certificate authorities to trust besides the system's
	CertDirs []string // directories of HOST/{*.crt,*.cert,*.key}; nil means DefaultCertDirs

	// Credential is asked first, the files after it. See Files.
	Credential func(host, repository string) (Credential, bool)
	AuthFiles  []string // credential files; nil means DefaultAuthFiles

	Proxy   string // http, https, socks5 or socks5h URL; "" means the environment's, "none" means none
	NoProxy string // hosts reached without it, as in $NO_PROXY

	UserAgent string
	Idle      time.Duration // how long nothing may come before a connection is given up; 0 means 60 s
	Retries   int           // how often a request is sent again; 0 means 5, negative never
	Note      func(string)  // is told, in one line, what is waited for; may be nil
}

const (
	defaultIdle    = 60 * time.Second
	defaultRetries = 5
	dialTimeout    = 30 * time.Second
)

// Access is the way to all registries. It keeps connections and tokens, so that one
// is enough for a program. Its methods may be used at the same time.
type Access struct {
	o           Options
	http        *http.Client
	transport   *router
	retrier     *retrier
	credentials credentials
	tokens      tokens
	hosts       hosts
}

// New returns the way to registries that the options describe. It touches no network.
func New(o Options) (*Access, error) {
	if o.Idle <= 0 {
		o.Idle = defaultIdle
	}
	if o.Retries == 0 {
		o.Retries = defaultRetries
	}
	if o.UserAgent == "" {
		o.UserAgent = "tare"
	}
	note := o.Note
	o.Note = func(s string) {
		if note != nil {
			note(oneLine(s))
		}
	}
	proxy, err := newProxy(o.Proxy, o.NoProxy)
	if err != nil {
		return nil, err
	}
	trust, err := newTrust(o.CAFiles, o.CertDirs)
	if err != nil {
		return nil, err
	}
	a := &Access{o: o}
	a.transport = &router{trust: trust, make: func(c *tls.Config) *http.Transport { return newTransport(c, proxy) }}
	a.retrier = &retrier{next: &guard{next: a.transport, idle: o.Idle}, max: o.Retries, note: o.Note, wait: firstWait}
	a.http = &http.Client{
		Transport:     a.retrier,
		CheckRedirect: checkRedirect,
	}
	a.credentials = credentials{first: o.Credential, files: o.AuthFiles}
	if o.AuthFiles == nil {
		a.credentials.files = DefaultAuthFiles()
	}
	return a, nil
}

// Close ends the connections that are not in use.
func (a *Access) Close() {
	a.transport.close()
}

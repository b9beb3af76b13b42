package registry

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// A proxy chooses the way to a host, as curl(1) does: $HTTPS_PROXY, $HTTP_PROXY,
// $ALL_PROXY and $NO_PROXY, in either case. The variables are read once for each Access
// and not, as net/http does, once for each process.
type proxy struct {
	https, http *url.URL // nil: none
	except      []string
}

func newProxy(all, except string) (proxy, error) {
	if except == "" {
		except = env("NO_PROXY")
	}
	p := proxy{except: strings.FieldsFunc(strings.ToLower(except), func(r rune) bool { return r == ',' || r == ' ' })}
	https, http := all, all
	switch all {
	case "none":
		return proxy{}, nil
	case "":
		https, http = env("HTTPS_PROXY", "ALL_PROXY"), env("HTTP_PROXY", "ALL_PROXY")
	}
	var err error
	if p.https, err = parseProxy(https); err != nil {
		return p, err
	}
	p.http, err = parseProxy(http)
	return p, err
}

func env(names ...string) string {
	for _, name := range names {
		for _, name := range []string{name, strings.ToLower(name)} {
			if s := os.Getenv(name); s != "" {
				return s
			}
		}
	}
	return ""
}

func parseProxy(s string) (*url.URL, error) {
	if s == "" {
		return nil, nil
	}
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("proxy: not a URL") // which could show a password
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		if u.Host != "" {
			return u, nil
		}
	}
	return nil, fmt.Errorf("proxy %q: want http, https, socks5 or socks5h://HOST:PORT", u.Redacted())
}

// choose is the Proxy of an http.Transport.
func (p proxy) choose(req *http.Request) (*url.URL, error) {
	u := p.https
	if req.URL.Scheme == "http" {
		u = p.http
	}
	if u == nil || p.direct(req.URL) {
		return nil, nil
	}
	return u, nil
}

// direct tells whether a host is reached without a proxy: loopback, and what NO_PROXY
// names by "*", name, domain with or without a dot, address, or prefix; with or without a port.
func (p proxy) direct(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	if isLoopback(host) {
		return true
	}
	addr, _ := netip.ParseAddr(host)
	for _, e := range p.except {
		if prefix, err := netip.ParsePrefix(e); err == nil {
			if prefix.Contains(addr.Unmap()) {
				return true
			}
			continue
		}
		if name, port, err := net.SplitHostPort(e); err == nil {
			if port != u.Port() && hostPort(u) != strings.ToLower(e) {
				continue
			}
			e = name
		}
		e = strings.TrimPrefix(strings.TrimPrefix(e, "*"), ".")
		if e == "" || host == e || strings.Trim(e, "[]") == host || strings.HasSuffix(host, "."+e) {
			return true
		}
	}
	return false
}

// isLoopback tells whether a host without its port is this machine.
func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}

package registry

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// A recorder keeps what it was asked, and answers 404 unless it has an answer.
type recorder struct {
	answer http.HandlerFunc
	mu     sync.Mutex
	asked  []*http.Request
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.asked = append(r.asked, req.Clone(req.Context()))
	r.mu.Unlock()
	if r.answer == nil {
		http.NotFound(w, req)
		return
	}
	r.answer(w, req)
}

func (r *recorder) all() []*http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*http.Request{}, r.asked...)
}

// httpProxy is a proxy that leads every host to one address.
func httpProxy(t *testing.T, to string) (address string, r *recorder) {
	t.Helper()
	r = &recorder{}
	r.answer = func(w http.ResponseWriter, req *http.Request) {
		if user, password, _ := proxyUser(req); user != "u" || password != "p" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		if req.Method != http.MethodConnect {
			req.URL.Host, req.RequestURI = to, ""
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			defer resp.Body.Close()
			for key, values := range resp.Header {
				w.Header()[key] = values
			}
			w.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(w, resp.Body)
			return
		}
		there, err := net.Dial("tcp", to)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		here, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(here, "HTTP/1.1 200 ok\r\n\r\n")
		join(here, there)
	}
	return serve(t, r), r
}

func proxyUser(req *http.Request) (user, password string, ok bool) {
	copied := &http.Request{Header: http.Header{"Authorization": req.Header["Proxy-Authorization"]}}
	return copied.BasicAuth()
}

// join copies both ways until one end is closed.
func join(a, b net.Conn) {
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			pair[0].Close()
		})
	}
	wg.Wait()
}

// socksProxy is a SOCKS5 proxy (RFC 1928) that leads every host to one address. It
// returns the names it was asked for.
func socksProxy(t *testing.T, to string) (address string, asked func() []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var names []string
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				name, err := socksHello(c)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				names = append(names, name)
				mu.Unlock()
				there, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				join(c, there)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().String(), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return names
	}
}

func socksHello(c net.Conn) (string, error) {
	r := bufio.NewReader(c)
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", err
	}
	if _, err := r.Discard(int(head[1])); err != nil {
		return "", err
	}
	if _, err := c.Write([]byte{5, 0}); err != nil {
		return "", err
	}
	head = make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", err
	}
	if head[1] != 1 || head[3] != 3 {
		return "", fmt.Errorf("socks: command %d to address of type %d, want 1 and 3", head[1], head[3])
	}
	name := make([]byte, int(head[4])+2)
	if _, err := io.ReadFull(r, name); err != nil {
		return "", err
	}
	port := binary.BigEndian.Uint16(name[len(name)-2:])
	_, err := c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	return net.JoinHostPort(string(name[:len(name)-2]), strconv.Itoa(int(port))), err
}

func TestProxies(t *testing.T) {
	ca := newAuthority(t)
	ca.sign(t, "server", time.Hour)
	s := startRegistry(t, "  tls: {certificate: "+ca.path("server.cert")+", key: "+ca.path("server.key")+"}\n", "")
	plain := startRegistry(t, "", "")
	ctx := within(t, time.Minute)

	// The name has no address: only the proxy knows it.
	const name = "registry.invalid"
	address, seen := httpProxy(t, s.host)
	c := newClient(t, name, Options{Proxy: "http://u:p@" + address, CAFiles: []string{ca.path("ca.crt")}})
	_, err := c.Resolve(ctx, "1")
	wantError(t, err, "valid for localhost, not "+name)
	if all := seen.all(); len(all) == 0 || all[0].Method != http.MethodConnect || all[0].Host != name+":443" {
		t.Errorf("HTTP proxy was asked %v", all)
	}
	_, err = newClient(t, name, Options{Proxy: "http://u:wrong@" + address}).Resolve(ctx, "1")
	wantError(t, err, "Proxy Authentication Required")

	address, seen = httpProxy(t, plain.host)
	c = newClient(t, name, Options{Proxy: "u:p@" + address, Insecure: []string{name}})
	pushImage(t, ctx, c, random(1<<20))
	if all := seen.all(); len(all) == 0 || all[0].URL.String() != "http://"+name+"/v2/team/app/blobs/uploads/" {
		t.Errorf("HTTP proxy was asked %v", all[0].URL)
	}

	address, asked := socksProxy(t, plain.host)
	pushImage(t, ctx, newClient(t, name, Options{Proxy: "socks5h://" + address, Insecure: []string{name}}), random(1<<20))
	if got := asked(); len(got) == 0 || got[0] != name+":80" {
		t.Errorf("SOCKS proxy was asked %q", got)
	}
}

func TestProxyOfTheEnvironment(t *testing.T) {
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "all_proxy", "no_proxy"} {
		t.Setenv(name, "")
	}
	t.Setenv("https_proxy", "proxy.example:3128")
	t.Setenv("ALL_PROXY", "socks5://socks.example")
	t.Setenv("NO_PROXY", "direct.example,.dot.example,10.0.0.0/8,port.example:5000,fd00::1, *.star.example")
	p, err := newProxy("", "")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ url, want string }{
		{"https://a.example", "http://proxy.example:3128"},
		{"http://a.example", "socks5://socks.example"},
		{"https://direct.example:5000", ""},
		{"https://sub.direct.example", ""},
		{"https://notdirect.example", "http://proxy.example:3128"},
		{"https://x.dot.example", ""},
		{"https://x.star.example", ""},
		{"https://10.1.2.3:5000", ""},
		{"https://11.1.2.3:5000", "http://proxy.example:3128"},
		{"https://port.example:5000", ""},
		{"https://port.example:5001", "http://proxy.example:3128"},
		{"https://[fd00::1]:5000", ""},
		{"https://[fd00::2]:5000", "http://proxy.example:3128"},
		{"https://localhost:5000", ""},
		{"https://127.0.0.9", ""},
		{"https://[::1]:5000", ""},
	}
	for _, test := range tests {
		req, err := http.NewRequest(http.MethodGet, test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if u, err := p.choose(req); err != nil {
			t.Error(err)
		} else if u != nil {
			got = u.String()
		}
		if got != test.want {
			t.Errorf("proxy for %s is %q, want %q", test.url, got, test.want)
		}
	}
	for _, bad := range []string{"ftp://x", "http://", "http://user:secret@[::1", "://"} {
		if _, err := newProxy(bad, ""); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("newProxy(%q): %v", bad, err)
		}
	}
}

func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("needs IPv6")
	}
	r := &recorder{}
	s := &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close() })
	_, err = newClient(t, l.Addr().String(), Options{}).Resolve(within(t, time.Minute), "1")
	wantError(t, err, "resolve "+l.Addr().String()+"/team/app:1: 404")
	if all := r.all(); len(all) == 0 || all[len(all)-1].Host != l.Addr().String() {
		t.Errorf("asked: %v", all)
	}
}

func TestNobodyListens(t *testing.T) {
	host := freePort(t)
	var notes []string
	c := newClient(t, host, Options{Note: func(s string) { notes = append(notes, s) }})
	_, err := c.Resolve(within(t, time.Minute), "1")
	wantError(t, err, "resolve "+host+"/team/app:1: dial tcp "+host+": connect: connection refused")
	if len(notes) != 2 || !strings.HasPrefix(notes[0], host+": dial tcp ") || !strings.Contains(notes[0], "again in") {
		t.Errorf("notes %q, want one for each of two tries", notes)
	}
	_, err = newClient(t, "registry.invalid", Options{}).Resolve(within(t, time.Minute), "1")
	wantError(t, err, "registry.invalid")
}

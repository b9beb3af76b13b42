package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// An authority signs certificates for a test. Its files are ca.crt and, for each name
// it signed, NAME.cert and NAME.key.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.make(t, "ca.crt", &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

func (a *authority) make(t *testing.T, name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name, "CERTIFICATE", der)
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed, key
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(a.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// sign makes NAME.cert and NAME.key for this machine, valid until a time from now.
func (a *authority) sign(t *testing.T, name string, valid time.Duration) {
	t.Helper()
	_, key := a.make(t, name+".cert", &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(valid - 2*time.Hour), NotAfter: time.Now().Add(valid),
	})
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".key", "EC PRIVATE KEY", der)
}

// serveTLS starts a server of the test's own.
func (a *authority) serveTLS(t *testing.T, name string, h http.Handler) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(a.path(name+".cert"), a.path(name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: quiet()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return l.Addr().String()
}

func TestAuthorities(t *testing.T) {
	ca := newAuthority(t)
	ca.sign(t, "server", time.Hour)
	s := startRegistry(t, "  tls: {certificate: "+ca.path("server.cert")+", key: "+ca.path("server.key")+"}\n", "")
	ctx := within(t, time.Minute)

	_, err := newClient(t, s.host, Options{}).Resolve(ctx, "1")
	wantError(t, err, "resolve "+s.host+"/team/app:1: ", "certificate signed by unknown authority", "certs.d/"+s.host+"/ca.crt")

	pushImage(t, ctx, newClient(t, s.host, Options{CAFiles: []string{ca.path("ca.crt")}}), random(1000))

	dir := t.TempDir()
	own := filepath.Join(dir, s.host)
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	copyFile(t, ca.path("ca.crt"), filepath.Join(own, "ca.crt"))
	if _, err := newClient(t, s.host, Options{CertDirs: []string{"/nowhere", dir}}).Resolve(ctx, "1"); err != nil {
		t.Error(err)
	}

	_, err = newClient(t, s.host, Options{Insecure: []string{s.host}}).Resolve(ctx, "1")
	wantError(t, err, "400 bad request", "HTTP request to an HTTPS server", "leave out --plain-http")

	_, err = New(Options{CAFiles: []string{"/nowhere/ca.crt"}})
	wantError(t, err, "/nowhere/ca.crt", "no such file")
	_, err = New(Options{CAFiles: []string{ca.path("server.key")}})
	wantError(t, err, "server.key: no certificate")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestClientCertificates(t *testing.T) {
	ca := newAuthority(t)
	ca.sign(t, "server", time.Hour)
	ca.sign(t, "client", time.Hour)
	s := startRegistry(t, "  tls: {certificate: "+ca.path("server.cert")+", key: "+ca.path("server.key")+", clientcas: ["+ca.path("ca.crt")+"]}\n", "")
	ctx := within(t, time.Minute)
	_, err := newClient(t, s.host, Options{CAFiles: []string{ca.path("ca.crt")}, Retries: -1}).Resolve(ctx, "1")
	wantError(t, err, "certificate")

	dir := t.TempDir()
	own := filepath.Join(dir, s.host)
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.crt", "client.cert", "client.key"} {
		copyFile(t, ca.path(name), filepath.Join(own, name))
	}
	pushImage(t, ctx, newClient(t, s.host, Options{CertDirs: []string{dir}}), random(1000))
	if err := os.Remove(filepath.Join(own, "client.key")); err != nil {
		t.Fatal(err)
	}
	_, err = newClient(t, s.host, Options{CertDirs: []string{dir}}).Resolve(ctx, "1")
	wantError(t, err, "client certificate", "client.key")
}

func TestExpiredCertificateMentionsTheClock(t *testing.T) {
	ca := newAuthority(t)
	ca.sign(t, "server", -time.Hour)
	host := ca.serveTLS(t, "server", http.NotFoundHandler())
	_, err := newClient(t, host, Options{CAFiles: []string{ca.path("ca.crt")}}).Resolve(within(t, time.Minute), "1")
	wantError(t, err, "expired", "is this machine's clock right?")
}

func TestPlainHTTPOnlyByName(t *testing.T) {
	// A name of this machine that is not known to be its own.
	host := plainAddress(t)
	s := &recorder{}
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, ErrorLog: quiet()}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	host = l.Addr().String()
	ctx := within(t, time.Minute)
	_, err = newClient(t, host, Options{}).Resolve(ctx, "1")
	wantError(t, err, "HTTP response to HTTPS client", "--plain-http "+host)
	_, err = newClient(t, host, Options{Insecure: []string{host}}).Resolve(ctx, "1")
	wantError(t, err, "404 not found")
	if len(s.all()) == 0 {
		t.Error("nothing was asked")
	}
}

// plainAddress returns an address of this machine that is not loopback.
func plainAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	t.Skip("needs a network interface besides loopback")
	return ""
}

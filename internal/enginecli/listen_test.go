package enginecli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key, a.pem, _ = a.sign(t, time.Now().Add(-time.Hour))
	return a
}

// sign makes a certificate: by the authority, or of it when it has none.
func (a *authority) sign(t *testing.T, from time.Time) (*x509.Certificate, *ecdsa.PrivateKey, []byte, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"}, NotBefore: from, NotAfter: from.Add(100 * 24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IsCA: a.cert == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return c, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: text})
}

func (a *authority) client(t *testing.T) tls.Certificate {
	t.Helper()
	_, _, cert, key := a.sign(t, time.Now().Add(-time.Hour))
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// files writes what the engine is given; its certificate is valid from a moment on.
func (a *authority) files(t *testing.T, from time.Time) *certificates {
	t.Helper()
	dir := t.TempDir()
	_, _, cert, key := a.sign(t, from)
	c := &certificates{filepath.Join(dir, "ca"), filepath.Join(dir, "cert"), filepath.Join(dir, "key")}
	for path, text := range map[string][]byte{c.ca: a.pem, c.cert: cert, c.key: key} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestOnlyClientsOfTheAuthorityAreServed(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	config, err := ours.files(t, time.Now().Add(-time.Hour)).config()
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.WriteString(c, "hello") // fails for those that are not served
				c.Close()
			}()
		}
	}()
	roots := x509.NewCertPool()
	roots.AddCert(ours.cert)
	for name, c := range map[string]struct {
		certs []tls.Certificate
		good  bool
	}{
		"ours": {[]tls.Certificate{ours.client(t)}, true}, "another authority's": {[]tls.Certificate{others.client(t)}, false}, "nobody's": {nil, false},
	} {
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, Certificates: c.certs})
		text := []byte(nil)
		if err == nil {
			text, err = io.ReadAll(conn)
			conn.Close()
		}
		if (string(text) == "hello") != c.good {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func TestTheClockIsNotBeforeTheCertificate(t *testing.T) {
	later := time.Now().Add(48 * time.Hour).Truncate(time.Second)
	config, err := newAuthority(t).files(t, later).config()
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Time(); !got.Equal(later) {
		t.Errorf("the time is %v, want %v", got, later)
	}
}

func TestTCPIsRefusedWithoutCertificates(t *testing.T) {
	for host, want := range map[string]string{
		"tcp://0.0.0.0:2376": "--tlscacert", "unix://relative": "absolute", "http://x": "want unix://", "tcp://": "want unix://",
	} {
		if err := (&certificates{}).check([]string{host}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := (&certificates{}).check([]string{"unix:///run/tare.sock"}); err != nil {
		t.Error(err)
	}
}

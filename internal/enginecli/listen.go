package enginecli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/engine"
)

// certificates are the files by which the engine and its clients prove who they are over TCP.
type certificates struct{ ca, cert, key string }

func (t *certificates) flags(f *cli.Flags) {
	f.String(&t.ca, "tlscacert", "", "`FILE` of the authority that clients' certificates must be of; for tcp://")
	f.String(&t.cert, "tlscert", "", "`FILE` of the engine's certificate; for tcp://")
	f.String(&t.key, "tlskey", "", "`FILE` of its key; for tcp://")
}

// arguments is the flags for another run of this program.
func (t *certificates) arguments() (all []string) {
	for _, x := range [][2]string{{"--tlscacert", t.ca}, {"--tlscert", t.cert}, {"--tlskey", t.key}} {
		if x[1] != "" {
			all = append(all, x[0], x[1])
		}
	}
	return all
}

// check makes the files' names absolute, and refuses TCP without them: whoever reaches the API is root on the device.
func (t *certificates) check(hosts []string) error {
	tcp := false
	for _, h := range hosts {
		kind, at, _ := strings.Cut(h, "://")
		switch {
		case kind == "unix" && filepath.IsAbs(at):
		case kind == "tcp" && at != "":
			tcp = true
		default:
			return fmt.Errorf("--host %s: want unix:// and an absolute path, or tcp://ADDRESS:PORT", h)
		}
	}
	if tcp && (t.ca == "" || t.cert == "" || t.key == "") {
		return errors.New("--host tcp://: wants --tlscacert, --tlscert and --tlskey: the engine serves nobody whom it does not know")
	}
	for _, path := range []*string{&t.ca, &t.cert, &t.key} {
		if *path == "" {
			continue
		}
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	return nil
}

// listen listens at a host that check has passed.
func (t *certificates) listen(e *engine.Engine, host string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(host, "unix://"); ok {
		return e.Listen(path)
	}
	config, err := t.config()
	if err != nil {
		return nil, err
	}
	l, err := e.ListenTCP(strings.TrimPrefix(host, "tcp://"))
	if err != nil {
		return nil, err
	}
	return tls.NewListener(l, config), nil
}

// config wants a certificate of each client, signed by the authority.
func (t *certificates) config() (*tls.Config, error) {
	text, err := os.ReadFile(t.ca)
	if err != nil {
		return nil, err
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificate in it", t.ca)
	}
	own, err := tls.LoadX509KeyPair(t.cert, t.key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.cert, err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authorities,
		MinVersion: tls.VersionTLS12, Time: notBefore(own),
	}, nil
}

// notBefore is a clock for devices that have none, or whose battery is empty: it cannot be earlier than its own
// certificate.
func notBefore(own tls.Certificate) func() time.Time {
	var least time.Time
	if leaf, err := x509.ParseCertificate(own.Certificate[0]); err == nil {
		least = leaf.NotBefore
	}
	return func() time.Time {
		if now := time.Now(); now.After(least) {
			return now
		}
		return least
	}
}

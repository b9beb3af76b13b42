package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// DefaultCertDirs returns where certificates of single hosts are looked for: our own
// directory and docker's, which podman and containerd read too.
func DefaultCertDirs() []string {
	return []string{"/etc/tare/certs.d", "/etc/docker/certs.d"}
}

// trust is whose certificates are believed. In a directory HOST[:PORT] of one of dirs,
// *.crt are authorities for that host, and NAME.cert with NAME.key is what we show it
// (https://docs.docker.com/engine/security/certificates/).
type trust struct {
	files []string
	dirs  []string
}

func newTrust(files, dirs []string) (trust, error) {
	if dirs == nil {
		dirs = DefaultCertDirs()
	}
	t := trust{files: files, dirs: dirs}
	// A file that was named must be there; it is read again with the first connection.
	_, err := t.pool(nil)
	return t, err
}

// CheckAuthority tells what is wrong with a file that is to be one of Options.CAFiles.
func CheckAuthority(file string) error {
	_, err := trust{files: []string{file}}.pool(nil)
	return err
}

// config returns the TLS configuration for a host, and whether it is this host's own.
func (t trust) config(host string) (config *tls.Config, own bool, err error) {
	config = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(8), // a link that breaks shakes hands often
	}
	var authorities []string
	for _, dir := range t.dirs {
		entries, err := os.ReadDir(filepath.Join(dir, host))
		if errors.Is(err, fs.ErrNotExist) || len(host) > 255 || strings.Contains(host, "/") {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		for _, e := range entries {
			path := filepath.Join(dir, host, e.Name())
			switch filepath.Ext(path) {
			case ".crt":
				authorities = append(authorities, path)
			case ".cert":
				pair, err := tls.LoadX509KeyPair(path, strings.TrimSuffix(path, ".cert")+".key")
				if err != nil {
					return nil, false, fmt.Errorf("client certificate %s: %w", path, err)
				}
				config.Certificates = append(config.Certificates, pair)
			}
		}
	}
	config.RootCAs, err = t.pool(authorities)
	return config, len(authorities)+len(config.Certificates) > 0, err
}

// pool returns the system's authorities with those of t and more; nil means only the system's.
func (t trust) pool(more []string) (*x509.CertPool, error) {
	files := append(append([]string{}, t.files...), more...)
	if len(files) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a device may have none
	}
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in PEM form", file)
		}
	}
	return pool, nil
}

package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
)

// DefaultConfig is where a machine says how it reaches registries. See ReadConfig.
const DefaultConfig = "/etc/tare/registries.json"

// ReadConfig returns the options in a file, of which all fields may be left out:
//
//	{"mirrors": {"docker.io": ["mirror.example:5000"]}, "insecure": ["plain.example:5000"],
//	 "caFiles": ["/etc/ssl/company.pem"], "proxy": "socks5h://proxy.example:1080", "noProxy": "10.0.0.0/8"}
//
// No file means the zero Options. What the file has and we do not know is an error: a
// word misspelt would leave a mirror or a proxy unused, and nobody would notice.
func ReadConfig(path string) (Options, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Options{}, nil
	}
	if err != nil {
		return Options{}, err
	}
	o, err := parseConfig(text)
	if err != nil {
		return Options{}, fmt.Errorf("%s: %w", path, err)
	}
	return o, nil
}

func parseConfig(text []byte) (Options, error) {
	var c struct {
		Mirrors  map[string][]string `json:"mirrors"`
		Insecure []string            `json:"insecure"`
		CAFiles  []string            `json:"caFiles"`
		Proxy    string              `json:"proxy"`
		NoProxy  string              `json:"noProxy"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Options{}, err
	}
	if d.More() {
		return Options{}, errors.New("more than one value")
	}
	for name, mirrors := range c.Mirrors {
		for _, host := range append([]string{name}, mirrors...) {
			if err := checkHost(host); err != nil {
				return Options{}, fmt.Errorf("mirrors of %q: %w", name, err)
			}
		}
	}
	for _, host := range c.Insecure {
		if err := checkHost(host); err != nil {
			return Options{}, fmt.Errorf("insecure: %w", err)
		}
	}
	return Options{Mirrors: c.Mirrors, Insecure: c.Insecure, CAFiles: c.CAFiles, Proxy: c.Proxy, NoProxy: c.NoProxy}, nil
}

// checkHost refuses what is not HOST[:PORT][/PREFIX]: people write URLs.
func checkHost(s string) error {
	u, err := url.Parse("https://" + s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Contains(s, "://") || strings.HasSuffix(u.Host, ":") {
		return fmt.Errorf("%q is not HOST[:PORT][/PREFIX]", s)
	}
	return nil
}

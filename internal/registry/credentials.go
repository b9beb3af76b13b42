package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A Credential is what a registry or its token server is shown.
type Credential struct {
	Username string
	Password string
	Refresh  string // identity token, to be exchanged at the token server (OAuth 2)
	Access   string // bearer token, for the registry itself
}

// DefaultAuthFiles returns the files where credentials are looked for, in that order:
// our own, then podman's (containers-auth.json(5)), then docker's. All have one form.
func DefaultAuthFiles() []string {
	if file := os.Getenv("REGISTRY_AUTH_FILE"); file != "" {
		return []string{file}
	}
	files := []string{"/etc/tare/auth.json"}
	run := os.Getenv("XDG_RUNTIME_DIR")
	if run == "" {
		run = filepath.Join("/run/containers", strconv.Itoa(os.Getuid()))
	}
	files = append(files, filepath.Join(run, "containers/auth.json"))
	home := os.Getenv("HOME")
	if home != "" {
		files = append(files, filepath.Join(home, ".config/containers/auth.json"))
	}
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return append(files, filepath.Join(dir, "config.json"))
	}
	if home != "" {
		files = append(files, filepath.Join(home, ".docker/config.json"))
	}
	return files
}

// credentials are where to look for them.
type credentials struct {
	first func(host, repository string) (Credential, bool)
	files []string
}

// find returns what to show a host for a repository; the zero Credential if nothing.
func (c credentials) find(ctx context.Context, host, repository string) (Credential, error) {
	if c.first != nil {
		if found, ok := c.first(host, repository); ok {
			return found, nil
		}
	}
	for _, path := range c.files {
		file, err := readAuthFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Credential{}, err
		}
		found, ok, err := file.find(ctx, host, repository)
		if ok || err != nil {
			return found, err
		}
	}
	return Credential{}, nil
}

// An authFile is the part of docker's config.json and podman's auth.json that we use.
type authFile struct {
	Auths map[string]struct {
		Auth          string `json:"auth"` // base64 of USER:PASSWORD
		Username      string `json:"username"`
		Password      string `json:"password"`
		IdentityToken string `json:"identitytoken"`
		RegistryToken string `json:"registrytoken"`
	} `json:"auths"`
	Helpers map[string]string `json:"credHelpers"`
	Store   string            `json:"credsStore"`
}

const maxAuthFile = 1 << 20

func readAuthFile(path string) (authFile, error) {
	var a authFile
	f, err := os.Open(path)
	if err != nil {
		return a, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxAuthFile))
	if err != nil {
		return a, err
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return a, nil
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, fmt.Errorf("credential file %s: %w", path, err)
	}
	return a, nil
}

// hub are the names under which credentials of docker.io are kept.
var hub = [...]string{"docker.io", "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"}

// find looks for the longest key that covers a repository, down to the host itself.
func (a authFile) find(ctx context.Context, host, repository string) (Credential, bool, error) {
	names := []string{host}
	if host == hub[0] {
		names = hub[:]
	}
	for _, name := range names {
		if helper := a.Helpers[name]; helper != "" {
			return askHelper(ctx, helper, name)
		}
	}
	for path := repository; ; path = path[:max(strings.LastIndexByte(path, '/'), 0)] {
		for _, name := range names {
			if found, ok, err := a.entry(strings.TrimSuffix(name+"/"+path, "/")); ok || err != nil {
				return found, ok, err
			}
		}
		if path == "" {
			break
		}
	}
	if a.Store != "" {
		if host == hub[0] {
			host = hub[1]
		}
		return askHelper(ctx, a.Store, host)
	}
	return Credential{}, false, nil
}

func (a authFile) entry(key string) (Credential, bool, error) {
	key = plainKey(key)
	for k, e := range a.Auths {
		if plainKey(k) != key {
			continue
		}
		c := Credential{Username: e.Username, Password: e.Password, Refresh: e.IdentityToken, Access: e.RegistryToken}
		if e.Auth != "" {
			text, err := base64.StdEncoding.DecodeString(e.Auth)
			user, password, found := strings.Cut(string(text), ":")
			if err != nil || !found {
				return c, false, fmt.Errorf("credentials of %s: auth is not base64 of USER:PASSWORD", k)
			}
			c.Username, c.Password = user, strings.TrimRight(password, "\x00")
		}
		if c != (Credential{}) {
			return c, true, nil
		}
	}
	return Credential{}, false, nil
}

// plainKey is a key without the scheme that old files have, and the path after it.
func plainKey(key string) string {
	for _, scheme := range []string{"https://", "http://"} {
		if rest, found := strings.CutPrefix(key, scheme); found {
			host, _, _ := strings.Cut(rest, "/")
			return host
		}
	}
	return strings.TrimSuffix(key, "/")
}

// helperTimeout is how long a helper may take.
const helperTimeout = 30 * time.Second

// askHelper asks docker-credential-NAME (https://github.com/docker/docker-credential-helpers).
func askHelper(ctx context.Context, name, host string) (Credential, bool, error) {
	if strings.ContainsAny(name, "/\x00") {
		return Credential{}, false, fmt.Errorf("credential helper %q: not a name", name)
	}
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker-credential-"+name, "get")
	cmd.Stdin = strings.NewReader(host)
	out, err := cmd.Output()
	if err != nil {
		if strings.Contains(string(out), "credentials not found") {
			return Credential{}, false, nil
		}
		return Credential{}, false, fmt.Errorf("credential helper %s: %w", name, err)
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(out, &answer); err != nil {
		return Credential{}, false, fmt.Errorf("credential helper %s: %w", name, err)
	}
	if answer.Username == "<token>" {
		return Credential{Refresh: answer.Secret}, true, nil
	}
	return Credential{Username: answer.Username, Password: answer.Secret}, answer.Username != "", nil
}

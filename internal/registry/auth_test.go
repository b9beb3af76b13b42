package registry

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// htpasswd is the file of a user "user" with the password "pa:ss".
const htpasswd = "user:$2y$04$FUKZHrh9ZTxRyeaTkWOiwuglmETTqYWXIdvnrzmeBNueBSBdNXj3W\n"

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func withPassword(t *testing.T) server {
	t.Helper()
	return startRegistry(t, "", "auth:\n  htpasswd: {realm: test, path: "+writeFile(t, "htpasswd", htpasswd)+"}\n")
}

// authFile writes a credential file with one entry.
func authFileOf(t *testing.T, key, userPassword string) string {
	t.Helper()
	return writeFile(t, "auth.json", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, key, base64.StdEncoding.EncodeToString([]byte(userPassword))))
}

func TestBasicAuthentication(t *testing.T) {
	s := withPassword(t)
	ctx := within(t, time.Minute)
	for _, key := range []string{s.host, "https://" + s.host + "/v1/", s.host + "/team", s.host + "/team/app"} {
		c := newClient(t, s.host, Options{AuthFiles: []string{"/nowhere/auth.json", authFileOf(t, key, "user:pa:ss")}})
		image, _, _ := pushImage(t, ctx, c, random(100))
		if d, err := c.Resolve(ctx, "1"); err != nil || d.Digest != image.Digest {
			t.Errorf("with credentials under %s: Resolve = %v, %v", key, d, err)
		}
	}
	for _, file := range []string{"/nowhere", authFileOf(t, s.host, "user:wrong"), authFileOf(t, s.host+"/other", "user:pa:ss")} {
		_, err := newClient(t, s.host, Options{AuthFiles: []string{file}}).Resolve(ctx, "1")
		wantError(t, err, "resolve "+s.host+"/team/app:1: 401 unauthorized", "log in")
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%v is not fs.ErrPermission", err)
		}
	}
	_, err := newClient(t, s.host, Options{AuthFiles: []string{writeFile(t, "auth.json", "{")}}).Resolve(ctx, "1")
	wantError(t, err, "auth.json", "unexpected end")
}

func TestCredentialOfTheCallerGoesFirst(t *testing.T) {
	s := withPassword(t)
	c := newClient(t, s.host, Options{
		AuthFiles: []string{authFileOf(t, s.host, "user:wrong")},
		Credential: func(host, repository string) (Credential, bool) {
			return Credential{Username: "user", Password: "pa:ss"}, host == s.host && repository == "team/app"
		},
	})
	pushImage(t, within(t, time.Minute), c, random(100))
}

func TestCredentialHelper(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\nread host\n[ $1 = get ] || exit 1\ncase $host in\ntoken.io) echo '{\"Username\":\"<token>\",\"Secret\":\"s\"}';;\n" +
		"user.io) echo '{\"Username\":\"u\",\"Secret\":\"p\"}';;\n*) echo credentials not found in native keychain; exit 1;;\nesac\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	tests := []struct {
		file, host string
		want       Credential
	}{
		{`{"credsStore":"test"}`, "user.io", Credential{Username: "u", Password: "p"}},
		{`{"credHelpers":{"token.io":"test"}}`, "token.io", Credential{Refresh: "s"}},
		{`{"credHelpers":{"token.io":"test"}}`, "user.io", Credential{}},
		{`{"credsStore":"test","auths":{"user.io":{}}}`, "user.io", Credential{Username: "u", Password: "p"}},
		{`{"credsStore":"test"}`, "nobody.io", Credential{}},
		{`{"auths":{"https://index.docker.io/v1/":{"username":"a","password":"b"}}}`, "docker.io", Credential{Username: "a", Password: "b"}},
		{`{"auths":{"a.io/x":{"username":"x"},"a.io":{"username":"a"}}}`, "a.io", Credential{Username: "a"}},
		{``, "a.io", Credential{}},
	}
	for _, test := range tests {
		c := credentials{files: []string{writeFile(t, "auth.json", test.file)}}
		if got, err := c.find(t.Context(), test.host, "r"); err != nil || got != test.want {
			t.Errorf("%s: find(%s) = %+v, %v, want %+v", test.file, test.host, got, err, test.want)
		}
	}
	for _, bad := range []string{`{"credsStore":"../test"}`, `{"credsStore":"absent"}`, `{"auths":{"x.io":{"auth":"!"}}}`} {
		c := credentials{files: []string{writeFile(t, "auth.json", bad)}}
		if got, err := c.find(t.Context(), "x.io", "r"); err == nil {
			t.Errorf("%s: find = %+v, want an error", bad, got)
		}
	}
}

// A tokenServer gives tokens for a registry of one manifest that it is in front of.
type tokenServer struct {
	t      *testing.T
	realm  string // where the registry says the tokens are
	expire int64

	mu    sync.Mutex
	asked []string // "METHOD user scope..."
	valid map[string]bool
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == "/token" {
		s.token(w, r)
		return
	}
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !s.valid[given] {
		w.Header().Add("WWW-Authenticate", `Basic realm="x"`)
		w.Header().Add("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token?account=a",service="the \"registry\"",scope="repository:x:pull"`, s.realm))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	fmt.Fprint(w, "{}")
}

func (s *tokenServer) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.t.Error(err)
	}
	user, password, _ := r.BasicAuth()
	if user != "" && password != "p" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"details":"incorrect username or password"}`)
		return
	}
	s.asked = append(s.asked, fmt.Sprintf("%s %s%s %s %s", r.Method, user, r.Form.Get("refresh_token"), r.Form.Get("service"), strings.Join(r.Form["scope"], " ")))
	name := fmt.Sprint("token", len(s.asked))
	s.valid[name] = true
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": name, "expires_in": s.expire})
}

func TestTokenAuthentication(t *testing.T) {
	tests := []struct {
		name       string
		credential Credential
		want       string
	}{
		{"anonymous", Credential{}, `GET  the "registry" repository:team/app:pull`},
		{"password", Credential{Username: "u", Password: "p"}, `GET u the "registry" repository:team/app:pull`},
		{"refresh", Credential{Refresh: "r"}, `POST r the "registry" repository:team/app:pull`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &tokenServer{t: t, valid: map[string]bool{}, expire: 300}
			host := serve(t, s)
			// The token server has an address of its own, as on company networks: private ones are no reason to refuse it.
			s.realm = serve(t, s)
			c := newClient(t, host, Options{Credential: func(string, string) (Credential, bool) { return test.credential, true }})
			ctx := within(t, time.Minute)
			for range 3 {
				if _, err := c.Resolve(ctx, "1"); err != nil {
					t.Fatal(err)
				}
			}
			if len(s.asked) != 1 || s.asked[0] != test.want {
				t.Errorf("token server was asked %q, want once %q", s.asked, test.want)
			}
			// A registry may forget a token at any time.
			clear(s.valid)
			if _, err := c.Resolve(ctx, "1"); err != nil || len(s.asked) != 2 {
				t.Errorf("after the token ended: %v, asked %q", err, s.asked)
			}
		})
	}
}

func TestTokenRefused(t *testing.T) {
	s := &tokenServer{t: t, valid: map[string]bool{}}
	s.realm = serve(t, s)
	ctx := within(t, time.Minute)
	c := newClient(t, s.realm, Options{Credential: func(string, string) (Credential, bool) { return Credential{Username: "u", Password: "no"}, true }})
	_, err := c.Resolve(ctx, "1")
	wantError(t, err, "resolve "+s.realm+"/team/app:1: token server "+s.realm+": 401 unauthorized: incorrect username or password")
	c = newClient(t, s.realm, Options{Credential: func(string, string) (Credential, bool) { return Credential{Access: "wrong"}, true }})
	_, err = c.Resolve(ctx, "1")
	wantError(t, err, "401 unauthorized")
}

func TestTokensAreFetchedOnceForAll(t *testing.T) {
	s := &tokenServer{t: t, valid: map[string]bool{}, expire: 300}
	s.realm = serve(t, s)
	c := newClient(t, s.realm, Options{})
	ctx := within(t, time.Minute)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := c.Resolve(ctx, "1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(s.asked) != 1 {
		t.Errorf("token server was asked %d times, want once", len(s.asked))
	}
}

func TestParseChallenges(t *testing.T) {
	tests := []struct {
		in   []string
		want string
	}{
		{[]string{`Bearer realm="https://a/b?c=d,e",service=s , scope="x y"`}, "[{bearer map[realm:https://a/b?c=d,e scope:x y service:s]}]"},
		{[]string{`Basic realm="a", Bearer realm="b"`}, "[{basic map[realm:a]} {bearer map[realm:b]}]"},
		{[]string{`Basic`, `Negotiate, BEARER Realm = "a\"b"`}, `[{basic map[]} {negotiate map[]} {bearer map[realm:a"b]}]`},
		{[]string{``, `,,`, `="x"`, `Bearer realm="open`}, "[{bearer map[]}]"},
		{[]string{`realm="a"`}, "[]"},
	}
	for _, test := range tests {
		if got := fmt.Sprint(parseChallenges(test.in)); got != test.want {
			t.Errorf("parseChallenges(%q) = %s, want %s", test.in, got, test.want)
		}
	}
}

func FuzzParseChallenges(f *testing.F) {
	f.Add(`Bearer realm="https://a/b",service=s,scope="x y"`)
	f.Add(`Basic realm="a\"b", Negotiate, Bearer realm = b`)
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range parseChallenges([]string{s}) {
			if c.scheme == "" || len(c.params) > len(s) {
				t.Errorf("parseChallenges(%q) = %v", s, c)
			}
		}
	})
}

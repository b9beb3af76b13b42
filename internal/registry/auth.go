package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A scope is what is to be allowed: "repository:NAME:pull,push", several with spaces.
type scope string

// tokens are the Authorization headers that worked, by host and scope.
type tokens struct {
	fetching sync.Mutex // goes before mu: one asks, the others wait for the answer
	mu       sync.Mutex
	known    map[string]token
}

type token struct {
	header string
	end    time.Time // zero: unknown
}

// get returns the header for a key, and "" if it is not known or about to end.
func (t *tokens) get(key string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.known[key]
	if !known.end.IsZero() && time.Now().After(known.end) {
		return ""
	}
	return known.header
}

func (t *tokens) set(key string, value token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil {
		t.known = map[string]token{}
	}
	t.known[key] = value
}

// send sends a request to a registry, and again with what it wants to be shown.
func (a *Access) send(req *http.Request, at endpoint, what scope) (*http.Response, error) {
	req.Header.Set("User-Agent", a.o.UserAgent)
	key := req.URL.Host + " " + string(what)
	used := a.tokens.get(key)
	if used != "" {
		req.Header.Set("Authorization", used)
	}
	resp, err := a.http.Do(req)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	// A challenge from where we were sent on to is not the registry's.
	if !sameOrigin(resp.Request.URL, req.URL) {
		return resp, nil
	}
	again := rewind(req)
	if again == nil {
		return resp, nil
	}
	offered := parseChallenges(resp.Header.Values("WWW-Authenticate"))
	answer := refusal(resp)
	header, err := a.authorize(req, at, what, key, used, offered)
	if err != nil {
		return nil, err
	}
	if header == "" || header == used {
		return nil, answer
	}
	again.Header.Set("Authorization", header)
	return a.http.Do(again)
}

// authorize returns the header that answers a challenge; "" if we have nothing to show.
func (a *Access) authorize(req *http.Request, at endpoint, what scope, key, used string, offered []challenge) (string, error) {
	a.tokens.fetching.Lock()
	defer a.tokens.fetching.Unlock()
	if now := a.tokens.get(key); now != "" && now != used {
		return now, nil // another request has got it meanwhile
	}
	ctx := req.Context()
	credential, err := a.credentials.find(ctx, at.name, at.repository)
	if err != nil {
		return "", err
	}
	var basic, bearer *challenge
	for i := range offered {
		switch offered[i].scheme {
		case "basic":
			basic = &offered[i]
		case "bearer":
			bearer = &offered[i]
		}
	}
	var found token
	switch {
	case credential.Access != "":
		found.header = "Bearer " + credential.Access
	case bearer != nil:
		found, err = a.fetchToken(ctx, req.URL, bearer.params, what, credential)
	case basic != nil && credential.Username != "":
		found.header = "Basic " + base64.StdEncoding.EncodeToString([]byte(credential.Username+":"+credential.Password))
	}
	if err == nil && found.header != "" {
		a.tokens.set(key, found)
	}
	return found.header, err
}

// maxToken is the most that is read of a token server's answer. A token must fit into a header.
const maxToken = 128 << 10

// fetchToken asks the token server that a registry names
// (https://distribution.github.io/distribution/spec/auth/token/ and .../oauth/).
func (a *Access) fetchToken(ctx context.Context, registry *url.URL, params map[string]string, what scope, c Credential) (token, error) {
	realm, err := url.Parse(params["realm"])
	if err != nil || realm.Host == "" {
		return token{}, fmt.Errorf("token server %q: not a URL", printable(params["realm"]))
	}
	if realm.Scheme != "https" && (realm.Scheme != "http" || registry.Scheme != "http") {
		return token{}, fmt.Errorf("token server %s://%s: must speak https, as the registry does", realm.Scheme, realm.Host)
	}
	scopes := strings.Fields(string(what))
	if len(scopes) == 0 {
		scopes = strings.Fields(params["scope"])
	}
	req, err := tokenRequest(ctx, realm, params["service"], scopes, c)
	if err != nil {
		return token{}, err
	}
	req.Header.Set("User-Agent", a.o.UserAgent)
	resp, err := a.http.Do(req)
	if err != nil {
		return token{}, fmt.Errorf("token server %s: %w", realm.Host, cause(err))
	}
	if resp.StatusCode != http.StatusOK {
		return token{}, fmt.Errorf("token server %s: %w", realm.Host, refusal(resp))
	}
	defer resp.Body.Close()
	return readToken(realm.Host, resp.Body)
}

func tokenRequest(ctx context.Context, realm *url.URL, service string, scopes []string, c Credential) (*http.Request, error) {
	if c.Refresh != "" {
		form := url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {c.Refresh}, "service": {service},
			"client_id": {"tare"}, "scope": {strings.Join(scopes, " ")},
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		req.GetBody = nil // a redirect cannot carry the secret on
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return req, nil
	}
	query := realm.Query()
	if service != "" {
		query.Set("service", service)
	}
	for _, s := range scopes {
		query.Add("scope", s)
	}
	at := *realm
	at.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	if c.Username != "" || c.Password != "" {
		req.SetBasicAuth(c.Username, c.Password)
	}
	return req, nil
}

func readToken(host string, r io.Reader) (token, error) {
	var answer struct {
		Token   string `json:"token"`
		Access  string `json:"access_token"`
		Seconds int64  `json:"expires_in"`
	}
	if err := json.NewDecoder(io.LimitReader(r, maxToken)).Decode(&answer); err != nil {
		return token{}, fmt.Errorf("token server %s: %w", host, err)
	}
	if answer.Token == "" {
		answer.Token = answer.Access
	}
	if answer.Token == "" {
		return token{}, errors.New("token server " + host + ": no token in its answer")
	}
	t := token{header: "Bearer " + answer.Token}
	// Renewed a little early, and by our own count: the clocks need not agree. A registry
	// that thinks otherwise says so with another challenge.
	if answer.Seconds > 0 && answer.Seconds < 1<<30 {
		t.end = time.Now().Add(time.Duration(answer.Seconds) * time.Second * 9 / 10)
	}
	return t, nil
}

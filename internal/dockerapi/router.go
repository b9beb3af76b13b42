package dockerapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"tare.dev/tare/internal/engine"
	"tare.dev/tare/internal/order"
)

// Versions of the API that are served. A client of a newer one is expected to come down, as it asks
// /_ping first; of an older one all that it needs is there.
const (
	maxVersion = "1.56"
	minVersion = "1.24"
)

// handler answers a request. An error that it returns is the answer when nothing was written yet.
type handler func(http.ResponseWriter, *http.Request) error

// route is a method and a path, of which one part may be {a name}. Names of images have slashes, which
// is why this is no http.ServeMux.
type route struct {
	method, pattern string
	run             handler
}

// entry is a route taken apart.
type entry struct {
	route
	prefix, suffix string // around the parameter; all of the path without one
	param          string
}

type router struct {
	entries []entry // the most precise first
}

func newRouter(routes []route) *router {
	r := &router{}
	for _, one := range routes {
		e := entry{route: one, prefix: one.pattern}
		if before, rest, ok := strings.Cut(one.pattern, "{"); ok {
			e.prefix = before
			e.param, e.suffix, _ = strings.Cut(rest, "}")
		}
		r.entries = append(r.entries, e)
	}
	order.Stably(r.entries, func(a, b entry) int {
		if (a.param == "") != (b.param == "") {
			if a.param == "" {
				return -1
			}
			return 1
		}
		return len(b.prefix) + len(b.suffix) - len(a.prefix) - len(a.suffix)
	})
	return r
}

// match finds the parameter's value.
func (e *entry) match(path string) (value string, ok bool) {
	if e.param == "" {
		return "", path == e.prefix
	}
	if len(path) <= len(e.prefix)+len(e.suffix) || !strings.HasPrefix(path, e.prefix) || !strings.HasSuffix(path, e.suffix) {
		return "", false
	}
	return path[len(e.prefix) : len(path)-len(e.suffix)], true
}

func (rt *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, version := splitVersion(r.URL.Path)
	w.Header().Set("Server", "Tare (linux)")
	w.Header().Set("Api-Version", maxVersion)
	w.Header().Set("Ostype", "linux")
	if err := checkVersion(version); err != nil {
		writeError(w, err)
		return
	}
	r.SetPathValue(versionKey, version)
	known := false
	for i := range rt.entries {
		e := &rt.entries[i]
		value, ok := e.match(path)
		if !ok {
			continue
		}
		known = true
		if e.method != r.Method && (e.method != http.MethodGet || r.Method != http.MethodHead) {
			continue
		}
		if e.param != "" {
			r.SetPathValue(e.param, value)
		}
		if err := e.run(w, r); err != nil {
			writeError(w, err)
		}
		return
	}
	if known {
		writeError(w, statusErrorf(http.StatusMethodNotAllowed, "%s %s: method not allowed", r.Method, path))
		return
	}
	writeError(w, notServed(path))
}

// versionKey is where the version of the API that a request speaks is kept with it.
const versionKey = "/version"

// splitVersion takes /v1.41 off; without it the newest is spoken.
func splitVersion(path string) (rest, version string) {
	if !strings.HasPrefix(path, "/v") || len(path) < 3 || path[2] < '0' || path[2] > '9' {
		return path, maxVersion
	}
	version, rest, _ = strings.Cut(path[2:], "/")
	return "/" + rest, version
}

func checkVersion(v string) error {
	if before(v, minVersion) {
		return statusErrorf(http.StatusBadRequest, "client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", v, minVersion)
	}
	if before(maxVersion, v) {
		return statusErrorf(http.StatusBadRequest, "client version %s is too new. Maximum supported API version is %s", v, maxVersion)
	}
	return nil
}

// before compares versions such as 1.24.
func before(a, b string) bool {
	return versionNumber(a) < versionNumber(b)
}

func versionNumber(s string) int {
	major, minor, _ := strings.Cut(s, ".")
	m, err1 := strconv.Atoi(major)
	n, err2 := strconv.Atoi(minor)
	if err1 != nil || err2 != nil {
		return 0
	}
	return m*1000 + n
}

// speaks tells whether the client's version of the API is at least v.
func speaks(r *http.Request, v string) bool { return !before(r.PathValue(versionKey), v) }

// notServed is the answer to a path that has no route.
func notServed(path string) error {
	for prefix, why := range map[string]string{
		"/swarm": "swarm", "/nodes": "swarm", "/services": "swarm", "/tasks": "swarm", "/secrets": "swarm", "/configs": "swarm",
		"/plugins": "plugins", "/build": "building images on a device: use tarekit build", "/commit": "commit: build images with tarekit",
		"/session": "building images on a device: use tarekit build", "/grpc": "building images on a device: use tarekit build",
	} {
		if path == prefix || strings.HasPrefix(path, prefix+"/") {
			return statusErrorf(http.StatusNotImplemented, "not implemented: Tare does not offer %s", why)
		}
	}
	return statusErrorf(http.StatusNotFound, "page not found")
}

// writeError answers with {"message": …}.
func writeError(w http.ResponseWriter, err error) {
	status := engine.KindOf(err).Status()
	if s, ok := errors.AsType[interface {
		error
		Status() int
	}](err); ok {
		status = s.Status()
	}
	if status == http.StatusNotModified {
		w.WriteHeader(status)
		return
	}
	_ = writeJSON(w, status, map[string]string{"message": err.Error()}) // who asked may be gone
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // who asked may be gone
	return nil
}

// readJSON reads the body of a request.
func readJSON(r *http.Request, v any) error {
	if t := r.Header.Get("Content-Type"); t != "" && !strings.HasPrefix(t, "application/json") && r.ContentLength != 0 {
		return statusErrorf(http.StatusBadRequest, "unsupported Content-Type header (%s): must be 'application/json'", t)
	}
	d := json.NewDecoder(io.LimitReader(r.Body, 4<<20))
	switch err := d.Decode(v); {
	case errors.Is(err, io.EOF):
		return statusErrorf(http.StatusBadRequest, "invalid JSON: got EOF while reading request body")
	case err != nil:
		return statusErrorf(http.StatusBadRequest, "invalid JSON: %w", err)
	}
	return nil
}

// flag reads a parameter that is true or false, by docker's rule: all is true but these.
func flag(q url.Values, name string) bool {
	switch strings.ToLower(strings.TrimSpace(q.Get(name))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// number reads a parameter that is a number; nil: it is not there.
func number(q url.Values, name string) (*int, error) {
	text := q.Get(name)
	if text == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, &statusError{http.StatusBadRequest, fmt.Errorf("%s: %w", name, err)}
	}
	return &n, nil
}

package dockerapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"tare.dev/tare/internal/engine"
)

// answering answers with the route that was found and its parameter.
func answering(name string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		return writeJSON(w, http.StatusOK, name+" "+r.PathValue("name")+" "+r.PathValue(versionKey))
	}
}

func testRouter() *router {
	return newRouter([]route{
		{"GET", "/images/{name}/json", answering("inspect")},
		{"GET", "/images/json", answering("list")},
		{"DELETE", "/images/{name}", answering("remove")},
		{"GET", "/images/{name}/get", answering("save")},
		{"HEAD", "/files", answering("stat")},
		{"GET", "/files", answering("read")},
		{"POST", "/fails", func(http.ResponseWriter, *http.Request) error { return engine.Errorf(engine.Conflict, "it is so") }},
	})
}

func TestRoutes(t *testing.T) {
	for line, want := range map[string]string{
		"GET /images/json":                           "200 list  " + maxVersion,
		"GET /v1.41/images/json":                     "200 list  1.41",
		"GET /v1.24/images/example.org/a/b:1/json":   "200 inspect example.org/a/b:1 1.24",
		"GET /images/json/json":                      "200 inspect json " + maxVersion,
		"GET /images/a/get":                          "200 save a " + maxVersion,
		"DELETE /images/a/b@sha256:00":               "200 remove a/b@sha256:00 " + maxVersion,
		"GET /files":                                 "200 read  " + maxVersion,
		"PUT /files":                                 "405 PUT /files: method not allowed",
		"GET /v1.23/images/json":                     "400 client version 1.23 is too old",
		"GET /v9.9/images/json":                      "400 client version 9.9 is too new",
		"GET /vx/images/json":                        "404 page not found",
		"GET /":                                      "404 page not found",
		"POST /swarm/init":                           "501 not implemented: Tare does not offer swarm",
		"POST /v1.43/build":                          "501 not implemented",
		"POST /fails":                                "409 it is so",
		"GET /images//json":                          "405 GET /images//json: method not allowed",
		"GET /v1.41":                                 "404 page not found",
		"GET /v1.41//images/json":                    "404 page not found",
		"DELETE /images/" + strings.Repeat("a", 999): "200 remove a",
	} {
		method, path, _ := strings.Cut(line, " ")
		w := httptest.NewRecorder()
		testRouter().ServeHTTP(w, httptest.NewRequest(method, path, nil))
		body := strings.TrimSpace(w.Body.String())
		var text string
		if json.Unmarshal([]byte(body), &text) != nil {
			var message struct{ Message string }
			if err := json.Unmarshal([]byte(body), &message); err != nil {
				t.Errorf("%s: %q is no JSON", line, body)
			}
			text = message.Message
		}
		if got := http.StatusText(w.Code); got == "" || !strings.HasPrefix(itoa(w.Code)+" "+text, want) {
			t.Errorf("%s: %d %s, want %s", line, w.Code, text, want)
		}
	}
	w := httptest.NewRecorder()
	testRouter().ServeHTTP(w, httptest.NewRequest("HEAD", "/files", nil))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "stat") {
		t.Errorf("HEAD /files: %d %s", w.Code, w.Body)
	}
}

func itoa(n int) string {
	text, _ := json.Marshal(n)
	return string(text)
}

// FuzzRouter: no path or version ends in anything but an answer.
func FuzzRouter(f *testing.F) {
	for _, path := range []string{"/v1.41/images/a/json", "/v", "/v1", "/v1.", "//", "/v1.41/images//json", "/images/json/"} {
		f.Add("GET", path)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		r := &http.Request{Method: method, Header: http.Header{}, URL: &url.URL{Path: path}}
		w := httptest.NewRecorder()
		testRouter().ServeHTTP(w, r)
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %q: %d %q", method, path, w.Code, w.Body)
		}
	})
}

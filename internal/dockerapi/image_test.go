package dockerapi

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/image"

	"tare.dev/tare/internal/store"
)

// images are the routes about images over a store of their own.
type images struct {
	*testing.T
	api    *imageAPI
	router *router
	users  map[string][]string
	events []string
}

func newImages(t *testing.T) *images {
	dir := t.TempDir()
	st, err := store.Open(filepath.Join(dir, "store"), store.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	x := &images{T: t, users: map[string][]string{}}
	x.api = newImageAPI(ImageOptions{
		Store: st, Run: filepath.Join(dir, "run"),
		Users: func(id string) []string { return x.users[id] },
		Event: func(action, _ string, attributes map[string]string) {
			x.events = append(x.events, strings.TrimSpace(action+" "+attributes["name"]))
		},
	})
	x.router = newRouter(x.api.routes())
	return x
}

// do sends a request, checks the status and reads the answer to out unless that is nil.
func (x *images) do(method, path string, body []byte, status int, out any) string {
	x.Helper()
	w := httptest.NewRecorder()
	x.router.ServeHTTP(w, httptest.NewRequest(method, path, bytes.NewReader(body)))
	if w.Code != status {
		x.Fatalf("%s %s = %d %s, want %d", method, path, w.Code, w.Body, status)
	}
	if out != nil {
		if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
			x.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
		}
	}
	return w.Body.String()
}

// imported makes an image of one file, and returns its id.
func (x *images) imported(name, content string, changes ...string) string {
	x.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(len(content))}); err != nil {
		x.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		x.Fatal(err)
	}
	if err := w.Close(); err != nil {
		x.Fatal(err)
	}
	q := url.Values{"fromSrc": {"-"}, "repo": {name}, "changes": changes, "message": {"made here"}}
	var last struct{ Status string }
	x.do("POST", "/images/create?"+q.Encode(), b.Bytes(), 200, &last)
	return last.Status
}

func (x *images) list(query string) []image.Summary {
	x.Helper()
	var all []image.Summary
	x.do("GET", "/images/json"+query, nil, 200, &all)
	return all
}

func filter(pairs ...string) string {
	f := map[string][]string{}
	for n := 0; n < len(pairs); n += 2 {
		f[pairs[n]] = append(f[pairs[n]], pairs[n+1])
	}
	text, _ := json.Marshal(f)
	return "?" + url.Values{"filters": {string(text)}}.Encode()
}

func TestAnImageIsFoundByAllItsNames(t *testing.T) {
	x := newImages(t)
	id := x.imported("host:5000/a/app:1", "one", `CMD ["/file"]`, "LABEL k=v", "ENV A=b")
	x.do("POST", "/images/"+id[7:19]+"/tag?repo=other&tag=x", nil, 201, nil)
	for _, name := range []string{"host:5000/a/app:1", "other:x", "docker.io/library/other:x", id, id[7:19], id[:20], "other@" + id} {
		var got image.InspectResponse
		x.do("GET", "/images/"+name+"/json", nil, 200, &got)
		if got.ID != id || got.Size != 3 || got.Comment != "made here" || got.Config.Cmd[0] != "/file" || got.Config.Labels["k"] != "v" ||
			!slices.Equal(got.RepoTags, []string{"other:x", "host:5000/a/app:1"}) || got.Descriptor.Digest.String() != id {
			t.Errorf("inspect %s = %+v", name, got)
		}
	}
	for _, name := range []string{"nobody", "nobody@" + id, "0000", "other:y"} {
		if text := x.do("GET", "/images/"+name+"/json", nil, 404, nil); !strings.Contains(text, "No such image: "+familiar(name)) {
			t.Errorf("inspect %s answers %s", name, text)
		}
	}
	var steps []image.HistoryResponseItem
	if x.do("GET", "/images/other:x/history", nil, 200, &steps); len(steps) != 1 || steps[0].ID != id || steps[0].Size == 0 {
		t.Errorf("history = %+v", steps)
	}
	if want := []string{"import", "tag other:x"}; !slices.Equal(x.events, want) {
		t.Errorf("events = %q, want %q", x.events, want)
	}
}

func TestFiltersLeaveWhatTheyAreFor(t *testing.T) {
	x := newImages(t)
	one := x.imported("app:1", "one", "LABEL k=v")
	x.imported("host:5000/app:2", "two")
	x.do("POST", "/images/app:1/tag?repo=tools&tag=1", nil, 201, nil)
	x.users[one] = []string{"c1"}
	for query, want := range map[string]int{
		"":                           2,
		filter("reference", "app"):   1,
		filter("reference", "app:*"): 1,
		filter("reference", "docker.io/library/app:1"):          1,
		filter("reference", "*/app"):                            1,
		filter("reference", "app", "reference", "*/app"):        2,
		filter("dangling", "true"):                              0,
		filter("dangling", "false"):                             2,
		filter("label", "k"):                                    1,
		filter("label", "k=w"):                                  0,
		filter("until", "1h"):                                   0,
		filter("since", "app:1"):                                0,
		"?filters=" + url.QueryEscape(`{"label":{"k=v":true}}`): 1,
	} {
		if got := x.list(query); len(got) != want {
			t.Errorf("list%s = %+v, want %d", query, got, want)
		}
	}
	if got := x.list(filter("reference", "tools"))[0]; !slices.Equal(got.RepoTags, []string{"tools:1"}) || got.Containers != 1 {
		t.Errorf("list of tools = %+v", got)
	}
	for _, query := range []string{filter("colour", "red"), "?filters=x", filter("dangling", "perhaps"), filter("reference", "[")} {
		x.do("GET", "/images/json"+query, nil, 400, nil)
	}
}

func TestAnImageGoesWithItsLastName(t *testing.T) {
	x := newImages(t)
	id := x.imported("app:1", "one")
	x.do("POST", "/images/app:1/tag?repo=app&tag=2", nil, 201, nil)
	x.do("DELETE", "/images/"+id, nil, 409, nil)
	var gone []image.DeleteResponse
	if x.do("DELETE", "/images/app:2", nil, 200, &gone); len(gone) != 1 || gone[0].Untagged != "app:2" {
		t.Errorf("delete of one name = %+v", gone)
	}
	x.users[id] = []string{"0123456789abcdef"}
	if text := x.do("DELETE", "/images/app:1", nil, 409, nil); !strings.Contains(text, "container 0123456789ab is using") {
		t.Errorf("delete of a used image answers %s", text)
	}
	x.do("DELETE", "/images/app:1?force=1", nil, 200, nil)
	x.do("DELETE", "/images/"+id+"?force=1", nil, 409, nil)
	delete(x.users, id)
	if x.do("DELETE", "/images/"+id, nil, 200, &gone); gone[len(gone)-1].Deleted != id {
		t.Errorf("delete = %+v", gone)
	}
	if left := x.list(""); len(left) != 0 {
		t.Errorf("%d images are left", len(left))
	}
}

func TestPruneLeavesWhatIsUsedOrNamed(t *testing.T) {
	x := newImages(t)
	old := x.imported("app:1", strings.Repeat("old", 10_000))
	named := x.imported("app:1", "new")
	used := x.imported("app:2", "used")
	x.users[used] = []string{"c"}
	var report image.PruneReport
	x.do("POST", "/images/prune", nil, 200, &report)
	if n := len(report.ImagesDeleted); n != 1 || report.ImagesDeleted[0].Deleted != old || report.SpaceReclaimed < 30_000 {
		t.Errorf("prune = %+v", report)
	}
	x.do("POST", "/images/prune"+filter("dangling", "false"), nil, 200, &report)
	if left := x.list(""); len(left) != 1 || left[0].ID != used || named == used {
		t.Errorf("prune of all leaves %+v", left)
	}
}

func TestWhatIsSavedCanBeLoaded(t *testing.T) {
	x := newImages(t)
	x.imported("app:1", "one")
	x.imported("host:5000/b:2", "two")
	archive := x.do("GET", "/images/get?names=app:1&names=host:5000/b:2", nil, 200, nil)
	x.do("GET", "/images/get?names=app:1&names=nobody", nil, 404, nil)
	y := newImages(t)
	said := y.do("POST", "/images/load", []byte(archive), 200, nil)
	for _, want := range []string{`Loaded image: app:1\n`, `Loaded image: host:5000/b:2\n`} {
		if !strings.Contains(said, want) {
			t.Errorf("load says %s, want %s", said, want)
		}
	}
	if got := y.list(""); len(got) != 2 {
		t.Errorf("load makes %+v", got)
	}
	y.do("POST", "/images/load", []byte("no archive"), 500, nil)
}

func TestARegistrysAnswerIsTheStatus(t *testing.T) {
	var shown []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); ok {
			shown = append(shown, user+":"+password)
		}
		if strings.Contains(r.URL.Path, "secret") {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	x := newImages(t)
	host := server.Listener.Addr().String()
	x.do("POST", "/images/create?fromImage="+host+"/nothing&tag=1", nil, 404, nil)
	x.do("GET", "/distribution/"+host+"/nothing/json", nil, 404, nil)
	auth := base64.URLEncoding.EncodeToString([]byte(`{"username":"me","password":"pass"}`))
	r := httptest.NewRequest("POST", "/images/create?fromImage="+host+"/secret&tag=1", nil)
	r.Header.Set("X-Registry-Auth", auth)
	w := httptest.NewRecorder()
	x.router.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden || !slices.Contains(shown, "me:pass") {
		t.Errorf("pull of a secret = %d %s; it was shown %q", w.Code, w.Body, shown)
	}
	for path, status := range map[string]int{
		"/images/create?fromImage=A:1":             400,
		"/images/create":                           400,
		"/images/create?fromImage=a&platform={":    400,
		"/images/create?fromImage=a&platform=!":    400,
		"/images/create?fromSrc=http://host/x.tar": 501,
		"/images/create?fromSrc=-&changes=NOTHING": 400,
	} {
		x.do("POST", path, nil, status, nil)
	}
	x.do("GET", "/images/search?term=x", nil, 501, nil)
}

package dockerapi

import (
	"encoding/json"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/volume"

	"tare.dev/tare/internal/instance"
)

func TestVolumesByTheAPI(t *testing.T) {
	dir := t.TempDir()
	users := map[string][]string{}
	var events []string
	a := &volumeAPI{VolumeOptions{
		Volumes: instance.Volumes{Dir: filepath.Join(dir, "flash"), Run: filepath.Join(dir, "memory")},
		Users:   func(name string) []string { return users[name] },
		Event:   func(action, id string, _ map[string]string) { events = append(events, action+" "+id) },
	}}
	rt := newRouter(a.routes())
	do := func(method, path, body string, status int, out any) {
		t.Helper()
		w := httptest.NewRecorder()
		rt.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		if w.Code != status {
			t.Fatalf("%s %s = %d %s, want %d", method, path, w.Code, w.Body, status)
		}
		if out != nil {
			if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
				t.Fatal(err)
			}
		}
	}
	var v volume.Volume
	do("POST", "/volumes/create", `{"Name":"data","Labels":{"k":"v"}}`, 201, &v)
	if v.Name != "data" || v.Driver != "local" || v.Mountpoint != filepath.Join(dir, "flash", "data") || v.CreatedAt == "" {
		t.Errorf("create = %+v", v)
	}
	do("POST", "/volumes/create", `{"Name":"data"}`, 201, &v)
	if v.Labels["k"] != "v" {
		t.Errorf("create of one that is there = %+v", v)
	}
	do("POST", "/volumes/create", `{"Name":"data","DriverOpts":{"type":"tmpfs"}}`, 409, nil)
	do("POST", "/volumes/create", `{}`, 201, &v)
	if _, ok := v.Labels[anonymousLabel]; !ok || len(v.Name) != 64 {
		t.Errorf("create without a name = %+v", v)
	}
	do("POST", "/volumes/create", `{"Name":"../x"}`, 400, nil)
	do("POST", "/volumes/create", `{"Name":"x","Driver":"rexray"}`, 404, nil)
	do("POST", "/volumes/create", `{`, 400, nil)

	users["data"] = []string{"c1"}
	for query, want := range map[string]int{
		"": 2, filter("name", "at"): 1, filter("dangling", "true"): 1, filter("label", "k=v"): 1, filter("driver", "x"): 0,
	} {
		var list volume.ListResponse
		if do("GET", "/volumes"+query, "", 200, &list); len(list.Volumes) != want {
			t.Errorf("list%s = %+v, want %d", query, list, want)
		}
	}
	do("DELETE", "/volumes/data", "", 409, nil)
	var report volume.PruneReport
	do("POST", "/volumes/prune"+filter("all", "1"), "", 200, &report)
	if !slices.Equal(report.VolumesDeleted, []string{v.Name}) {
		t.Errorf("prune = %+v", report)
	}
	delete(users, "data")
	do("DELETE", "/volumes/data", "", 204, nil)
	do("DELETE", "/volumes/data", "", 404, nil)
	do("DELETE", "/volumes/data?force=1", "", 204, nil)
	do("GET", "/volumes/data", "", 404, nil)
	if want := []string{"create data", "create " + v.Name, "destroy " + v.Name, "destroy data"}; !slices.Equal(events, want) {
		t.Errorf("events = %q, want %q", events, want)
	}
}

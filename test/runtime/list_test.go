package runtimetest

import (
	"encoding/json"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"
)

func TestPsInBothFormats(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "do", "orphan", "60", ",", "orphan", "60", ",", "sleep", "60")
	b.create()
	b.start()
	eventually(t, "three processes", func() bool { return len(b.processes()) == 3 })
	r := b.must("ps", "--format", "json", b.id)
	var got []int
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatalf("%v: %v", err, r)
	}
	want := b.processes()
	sort.Ints(got)
	sort.Ints(want)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("pids %v, want %v as the host sees them", got, want)
	}
	peerLacks(t, "prints numbers only", "crun")
	needProgram(t, "ps")
	r = b.must("ps", b.id)
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], "PID") || !strings.Contains(r.stdout, "/probe do") {
		t.Errorf("table:\n%s", r.stdout)
	}
	r = b.must("ps", b.id, "-e", "-o", "pid,comm") // options of ps
	if !strings.Contains(r.stdout, "probe") || strings.Contains(r.stdout, "UID") {
		t.Errorf("table:\n%s", r.stdout)
	}
}

func TestPsOfStoppedContainerIsEmptyOrRefused(t *testing.T) {
	t.Parallel()
	peerLacks(t, "crun lists who is dead", "crun")
	b := newBundle(t, "exit", "0")
	b.create()
	b.start()
	b.stopped()
	if r := b.cli("ps", "--format", "json", b.id); r.code == 0 {
		var got []int
		if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || len(got) > 0 {
			t.Error(r)
		}
	}
}

// listed has the fields of runc's list that engines and people read.
type listed struct {
	OCIVersion  string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Pid         int               `json:"pid"`
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations"`
	Owner       string            `json:"owner"`
}

func TestListInAllFormats(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	if r := b.must("list", "--quiet"); strings.TrimSpace(r.stdout) != "" {
		t.Errorf("empty: %v", r)
	}
	if r := b.must("list", "--format", "json"); strings.TrimSpace(r.stdout) != "null" && strings.TrimSpace(r.stdout) != "[]" {
		t.Errorf("empty: %v", r)
	}
	b.Spec.Annotations = map[string]string{"key": "value"}
	other := newBundle(t, "sleep", "60")
	other.root = b.root
	b.create()
	other.up()
	var got []listed
	r := b.must("list", "--format", "json")
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatalf("%v: %v", err, r)
	}
	byID := map[string]listed{}
	for _, l := range got {
		byID[l.ID] = l
	}
	l := byID[b.id]
	if len(got) != 2 || l.Pid != b.pid() || l.Status != "created" || l.Bundle != b.dir || byID[other.id].Status != "running" {
		t.Errorf("%+v", got)
	}
	if time.Since(l.Created) > time.Minute || time.Since(l.Created) < 0 {
		t.Errorf("created %v", l.Created)
	}
	table := b.must("list").stdout
	for _, word := range []string{"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER", b.id, other.id, "running", "created", "root"} {
		if !strings.Contains(table, word) {
			t.Errorf("the table lacks %s:\n%s", word, table)
		}
	}
	if q := strings.Fields(b.must("list", "-q").stdout); len(q) != 2 || !contains(q, b.id) {
		t.Errorf("quiet: %q", q)
	}
	other.must("delete", "--force", other.id)
	peerLacks(t, "crun lists less", "crun")
	if l.Annotations["key"] != "value" || l.Owner != "root" || l.Rootfs != b.rootfs() || l.OCIVersion == "" {
		t.Errorf("%+v", l)
	}
}

func TestListSurvivesForeignEntriesInItsDirectory(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	b.create()
	mustWrite(t, b.root+"/file", "x")
	mustMkdir(t, b.root+"/empty")
	mustWrite(t, b.root+"/broken/state.json", "{")
	peerLacks(t, "crun fails", "crun")
	if r := b.must("list", "-q"); !contains(strings.Fields(r.stdout), b.id) {
		t.Error(r)
	}
}

func TestListOfWhatCannotBeReadFails(t *testing.T) {
	t.Parallel()
	peerLacks(t, "has other words", "crun", "runc")
	b := newBundle(t, "sleep", "60")
	b.root = t.TempDir() + "/file"
	mustWrite(t, b.root, "")
	r := b.cli("list")
	if r.code != 1 || r.stdout != "" || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, "list containers: open "+b.root+": not a directory") {
		t.Error(r)
	}
}

func TestStateHasTheFieldsOfRunc(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60")
	b.create()
	_, all := b.state()
	for _, field := range []string{"ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"} {
		if _, ok := all[field]; !ok {
			t.Errorf("state lacks %s: %v", field, all)
		}
	}
	if created, _ := all["created"].(string); created != "" {
		if _, err := time.Parse(time.RFC3339Nano, created); err != nil {
			t.Error(err)
		}
	}
}

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tare.dev/tare/bench/measure"
)

func TestParseRefuses(t *testing.T) {
	for _, args := range [][]string{{"-n", "0"}, {"-images", "1"}, {"-images", "6"}, {"more"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("parse(%q) is no error", args)
		}
	}
	o, err := parse([]string{"-only", "tare,podman"})
	if err != nil || !measure.Wants(o.only, "tare") || !measure.Wants(o.only, "podman") || measure.Wants(o.only, "docker") {
		t.Errorf("parse(-only tare,podman) = %+v, %v", o, err)
	}
}

func TestUniqueCountsEachContentOnce(t *testing.T) {
	a := &image{contents: map[content]int64{{1}: 10, {2}: 20}, files: map[string]content{"usr/x": {1}, "usr/y": {1}, "etc/z": {2}}}
	b := &image{contents: map[content]int64{{2}: 20, {3}: 5}, files: map[string]content{"usr/x": {1}, "usr/y": {3}, "etc/z": {2}}}
	if got := a.unique(nil); got != 30 {
		t.Errorf("a.unique(nil) = %d, want 30", got)
	}
	if got := b.unique(a.contents); got != 5 {
		t.Errorf("b.unique(a) = %d, want 5", got)
	}
	if got, want := shared(a, b), []string{"usr/x"}; !slices.Equal(got, want) {
		t.Errorf("shared = %q, want %q", got, want)
	}
}

func TestAbsentPagesSeesWhatIsInMemory(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, make([]byte, 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, size, err := absentPages(f); err != nil || n != 0 || size != 10_000 {
		t.Errorf("absentPages = %d, %d, %v, want 0, 10000: it was just written", n, size, err)
	}
}

func TestReportJudges(t *testing.T) {
	pull := figures{Wall: time.Second, CPU: time.Second, Memory: 20 << 20, Written: 109, Barriers: 2, Used: 106}
	slow := pull
	slow.Wall, slow.Used, slow.First = 2*time.Second, 200, &start{}
	own := &result{Name: "tare", Rounds: []figures{slow, pull}, Pulls: []figures{pull, pull}, Read: &reading{}}
	own.Pulls[0].First, own.Pulls[1].First = &start{}, &start{}
	peer := &result{Name: "containerd", Rounds: []figures{slow}, Pulls: []figures{slow, slow}, Read: &reading{}}
	r := report{Images: []facts{{New: 100}, {New: 4}}, Engines: []*result{own, peer}}
	var out bytes.Buffer
	if err := r.writeTables(&out); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{
		"first pull, written / unique bytes": true, "disk after one image / unique bytes": false,
		"disk after two images / unique bytes": true, "barriers of a pull": true,
		"first pull, CPU / containerd's": false, "first pull, wall / containerd's": true,
	}
	for _, g := range r.Goals {
		if met, ok := want[g.What]; ok && met != g.Met {
			t.Errorf("%s: %.2f, want it <= %.2f: %v", g.What, g.Value, g.Target, met)
		}
		delete(want, g.What)
	}
	if len(want) > 0 || !strings.Contains(out.String(), "MISSED") {
		t.Errorf("goals that are not there: %v; printed\n%s", want, out.String())
	}
}

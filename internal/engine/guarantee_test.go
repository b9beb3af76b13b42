package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
)

func TestGuaranteesAreAddedUp(t *testing.T) {
	const mib = 1 << 20
	db, cache := promise{"db", 300 * mib}, promise{"cache", 100 * mib}
	for _, c := range []struct {
		bytes, total int64
		others       []promise
		want         string // of the error; "": it fits
	}{
		{bytes: 460 * mib, total: 512 * mib},
		{bytes: 461 * mib, total: 512 * mib, want: "web asks for 461 MiB of guaranteed memory, and 460 MiB are left: of 512 MiB the system keeps 51.2 MiB"},
		{bytes: 32 * mib, total: 64 * mib},
		{bytes: 33 * mib, total: 64 * mib, want: "of 64 MiB the system keeps 32 MiB"},
		{bytes: 60 * mib, total: 512 * mib, others: []promise{cache, db}},
		{bytes: 61 * mib, total: 512 * mib, others: []promise{cache, db}, want: "keeps 51.2 MiB, db 300 MiB, cache 100 MiB"},
		{bytes: mib, total: 128 * mib, others: []promise{cache, db}, want: "and 0 MiB are left"},
	} {
		err := fits("web", c.bytes, c.total, reserve(0, c.total), c.others)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("fits(%d of %d) = %v", c.bytes, c.total, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || KindOf(err) != Conflict):
			t.Errorf("fits(%d of %d) = %v, want %q", c.bytes, c.total, err, c.want)
		}
	}
	if got := reserve(10*mib, 512*mib); got != 10*mib {
		t.Errorf("reserve of 10 MiB = %d", got)
	}
}

func TestGroupAboveIsProtected(t *testing.T) {
	dir := t.TempDir()
	own, other := filepath.Join(dir, groupAbove), filepath.Join(dir, "user.slice")
	for _, d := range []string{own, other} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	low := func(d string) string {
		text, err := os.ReadFile(filepath.Join(d, "memory.low"))
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	if err := protectAbove(filepath.Join(own, "id"), 1); err != nil { // version 1 has no such file, and gets none
		t.Error(err)
	}
	if got := low(own); !strings.Contains(got, "no such file") {
		t.Errorf("memory.low = %q", got)
	}
	for _, d := range []string{own, other} {
		if err := os.WriteFile(filepath.Join(d, "memory.low"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := protectAbove(filepath.Join(d, "id"), 4096); err != nil {
			t.Error(err)
		}
	}
	if got := low(own); got != "4096" {
		t.Errorf("memory.low = %q, want 4096", got)
	}
	if got := low(other); got != "" {
		t.Errorf("memory.low of a group that is not ours = %q", got)
	}
	if err := protectAbove("", 1); err != nil {
		t.Error(err)
	}
}

func TestImportance(t *testing.T) {
	for _, c := range []struct {
		label  string
		set    int
		want   int
		score  int
		refuse bool
	}{
		{label: "", want: 50, score: 500, refuse: true},
		{label: "-", want: 50, score: 500},
		{label: "0", want: 0, score: 900},
		{label: "10", want: 10, score: 900},
		{label: "80", want: 80, score: 200},
		{label: "100", want: 100, score: 0},
		{label: "100", set: -500, want: 100, score: -500},
		{label: "101", want: 50, score: 500, refuse: true},
		{label: "-1", want: 50, score: 500, refuse: true},
		{label: "high", want: 50, score: 500, refuse: true},
	} {
		r := &Record{Config: &container.Config{Labels: map[string]string{LabelImportance: c.label}}, Host: &container.HostConfig{}}
		if c.label == "-" {
			r.Config.Labels = nil
		}
		r.Host.OomScoreAdj = c.set
		if got := importance(r); got != c.want {
			t.Errorf("importance(%q) = %d, want %d", c.label, got, c.want)
		}
		if got := oomScoreAdj(r); got != c.score {
			t.Errorf("oomScoreAdj(%q, %d) = %d, want %d", c.label, c.set, got, c.score)
		}
		if err := checkImportance(r); (err != nil) != c.refuse {
			t.Errorf("checkImportance(%q) = %v", c.label, err)
		}
	}
}

package suite

import (
	"strings"
	"testing"
)

func read(text string) *Reader {
	r := &Reader{}
	for line := range strings.Lines(text) {
		r.Line(line)
	}
	return r
}

func TestResultsAreRead(t *testing.T) {
	s := Suite{Name: "./internal/cgroup"}
	r := read("boot\r\n" + s.Begin() + "\r\n=== RUN   TestA\r\n--- PASS: TestA (0.00s)\r\n" +
		"    --- SKIP: TestB/sub (0.01s)\r\n--- SKIP: TestC (0.00s)\r\n" + s.End(3) + "\r\nlate\r\n" + Done + "\r\n")
	if len(r.Results) != 1 || !r.Done {
		t.Fatalf("results = %+v, done %v", r.Results, r.Done)
	}
	got := r.Results[0]
	if got.Name != s.Name || got.Status != 3 || len(got.Output) != 4 {
		t.Errorf("result = %+v, want status 3 and four lines", got)
	}
}

func TestAnUnendedSuiteHasFailed(t *testing.T) {
	s := Suite{Name: "x"}
	for name, text := range map[string]string{
		"cut off":      s.Begin() + "\nPASS\n",
		"wrong end":    s.Begin() + "\n" + Suite{Name: "y"}.End(0) + "\n",
		"garbled end":  s.Begin() + "\n" + Mark + "end x zero\n",
		"mark in text": s.Begin() + "\nthe line " + s.End(0) + "\n",
	} {
		r := read(text)
		if len(r.Results) != 1 || r.Results[0].Status != -1 || r.Done {
			t.Errorf("%s: results = %+v, done %v, want status -1 and not done", name, r.Results, r.Done)
		}
	}
}

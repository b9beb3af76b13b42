package main

import (
	"strings"
	"testing"

	"tare.dev/tare/test/output"
)

func TestJudge(t *testing.T) {
	rules := []output.Rule{{Suite: "*", Reason: "needs Linux *"}}
	const (
		good    = "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\nok  \ttare.dev/tare/a\t0.1s\n"
		allowed = "=== RUN   TestB\n    b_test.go:1: needs Linux 7\n--- SKIP: TestB (0.00s)\nPASS\nok  \ttare.dev/tare/b\t0.1s\n"
		skip    = "=== RUN   TestC\n    c_test.go:1: tired\n--- SKIP: TestC (0.00s)\nPASS\nok  \ttare.dev/tare/c\t0.1s\n"
		bad     = "=== RUN   TestD\n    d_test.go:1: wrong\n--- FAIL: TestD (0.00s)\nFAIL\nFAIL\ttare.dev/tare/d\t0.1s\nFAIL\n"
	)
	for name, test := range map[string]struct {
		in    string
		fails bool
		want  string // part of the output
	}{
		"all pass":         {good, false, "ok  \ttare.dev/tare/a"},
		"allowed skip":     {good + allowed, false, "skipped TestB: needs Linux 7"},
		"unexpected skip":  {good + skip, true, "FAIL: ./c: TestC skipped"},
		"a failure":        {good + bad, true, "d_test.go:1: wrong"},
		"no package":       {"", true, ""},
		"does not compile": {"# tare.dev/tare/x\nx.go:1: no\nFAIL\ttare.dev/tare/x [build failed]\n", true, "x.go:1: no"},
	} {
		var out strings.Builder
		err := judge(strings.NewReader(test.in), &out, rules)
		if (err != nil) != test.fails || !strings.Contains(out.String(), test.want) {
			t.Errorf("%s: %v, output %q, want an error: %v and %q", name, err, out.String(), test.fails, test.want)
		}
		if strings.Contains(out.String(), "TestA") {
			t.Errorf("%s: a passing package is printed whole", name)
		}
	}
}

package output

import (
	"slices"
	"strings"
	"testing"
)

const verbose = `=== RUN   TestA
    a_test.go:7: needs root
--- SKIP: TestA (0.00s)
=== RUN   TestB
=== RUN   TestB/one
    a_test.go:8: a note
    a_test.go:9: needs Linux 6.9, this is 6.1
=== RUN   TestB/two
--- PASS: TestB (0.00s)
    --- SKIP: TestB/one (0.00s)
    --- PASS: TestB/two (0.00s)
=== RUN   TestC
=== PAUSE TestC
=== CONT  TestC
--- SKIP: TestC (0.01s)
PASS`

func TestSkipsAreFoundWithTheirReasons(t *testing.T) {
	lines := strings.Split(verbose, "\n")
	want := []Skip{{"TestA", "needs root"}, {"TestB/one", "needs Linux 6.9, this is 6.1"}, {"TestC", ""}}
	if got := Skips(lines); !slices.Equal(got, want) {
		t.Errorf("Skips = %q, want %q", got, want)
	}
	if got := Passed(lines); got != 1 {
		t.Errorf("Passed = %d, want 1", got)
	}
}

func TestOnlyRulesAllowSkips(t *testing.T) {
	rules, err := ParseRules("# comment\n* needs Linux *\n./a needs root\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		suite, reason string
		allowed       bool
	}{
		{"./a", "needs root", true},
		{"./b", "needs root", false},
		{"./a", "needs root and more", false},
		{"./b/c", "needs Linux 6.9, this is 6.1", true},
		{"./a", "", false},
	} {
		got := Unexpected(test.suite, []Skip{{"TestX", test.reason}}, rules)
		if (len(got) == 0) != test.allowed {
			t.Errorf("Unexpected(%s, %q) = %q, want allowed %v", test.suite, test.reason, got, test.allowed)
		}
	}
	for _, bad := range []string{"./a", "./a *", "[ needs root"} {
		if _, err := ParseRules(bad); err == nil {
			t.Errorf("ParseRules(%q) = nil error", bad)
		}
	}
}

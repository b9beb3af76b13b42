package vm

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"tare.dev/tare/test/vm/suite"
)

// A Skip allows tests of one suite to skip.
type Skip struct {
	Suite  string
	Test   string // pattern as in path.Match; "/" separates subtests
	Reason string
}

// ParseSkips reads lines of "SUITE TEST  # reason". A line without a reason is an error.
func ParseSkips(text string) ([]Skip, error) {
	var skips []Skip
	for line := range strings.Lines(text) {
		rule, reason, _ := strings.Cut(line, "#")
		fields := strings.Fields(rule)
		if len(fields) == 0 {
			continue
		}
		reason = strings.TrimSpace(reason)
		if len(fields) != 2 || reason == "" {
			return nil, fmt.Errorf("skips: %q: want SUITE TEST # reason", strings.TrimSpace(line))
		}
		if _, err := path.Match(fields[1], ""); err != nil {
			return nil, fmt.Errorf("skips: %q: %w", fields[1], err)
		}
		skips = append(skips, Skip{fields[0], fields[1], reason})
	}
	return skips, nil
}

// Judge returns one sentence for each thing wrong with a suite's result.
func Judge(r suite.Result, allowed []Skip) []string {
	var complaints []string
	if r.Status != 0 {
		complaints = append(complaints, fmt.Sprintf("exit status %d", r.Status))
	}
	if r.Passed() == 0 {
		complaints = append(complaints, "no test passed")
	}
	for _, name := range r.Skips() {
		ok := slices.ContainsFunc(allowed, func(s Skip) bool {
			match, _ := path.Match(s.Test, name)
			return s.Suite == r.Name && match
		})
		if !ok {
			complaints = append(complaints, fmt.Sprintf("%s skipped: it should run here, or testdata/skips.txt should say why not", name))
		}
	}
	return complaints
}

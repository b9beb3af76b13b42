// Package output reads what `go test -v` and compiled tests print, to find the tests that skipped.
// A skip is allowed only by a rule that names its reason: a test that silently does not run proves
// nothing.
// It runs no tests.
package output

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A Skip is one test that did not run.
type Skip struct {
	Test   string
	Reason string // what it said
}

// A Rule allows skips of a suite for a reason.
type Rule struct {
	Suite  string // pattern as in path.Match
	Reason string // pattern; "*" stands for any text
}

var (
	heading = regexp.MustCompile(`^=== (?:RUN|CONT|NAME) +(\S+)`)
	message = regexp.MustCompile(`^ +\S+\.go:\d+: (.*)$`)
	skipped = regexp.MustCompile(`^ *--- SKIP: (\S+) \(`)
)

// Skips returns the skipped tests in verbose output, each with the last message it logged.
func Skips(lines []string) []Skip {
	var skips []Skip
	said := map[string]string{}
	current := ""
	for _, line := range lines {
		if m := heading.FindStringSubmatch(line); m != nil {
			current = m[1]
		} else if m := message.FindStringSubmatch(line); m != nil {
			said[current] = m[1]
		} else if m := skipped.FindStringSubmatch(line); m != nil {
			skips = append(skips, Skip{m[1], said[m[1]]})
		}
	}
	return skips
}

// Passed counts the top-level tests that passed.
func Passed(lines []string) int {
	n := 0
	for _, line := range lines {
		if strings.HasPrefix(line, "--- PASS: ") {
			n++
		}
	}
	return n
}

// ParseRules reads lines of "SUITE REASON"; "#" at the start of a line makes it a comment.
func ParseRules(text string) ([]Rule, error) {
	var rules []Rule
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		suite, reason, _ := strings.Cut(line, " ")
		reason = strings.TrimSpace(reason)
		if _, err := path.Match(suite, ""); err != nil || strings.Trim(reason, "* ") == "" {
			return nil, fmt.Errorf("rules: %q: want SUITE REASON", line)
		}
		rules = append(rules, Rule{suite, reason})
	}
	return rules, nil
}

// Unexpected returns one sentence for each skip of a suite that no rule allows.
func Unexpected(suite string, skips []Skip, rules []Rule) []string {
	var complaints []string
	for _, skip := range skips {
		if !slices.ContainsFunc(rules, func(r Rule) bool { return r.allows(suite, skip.Reason) }) {
			complaints = append(complaints, fmt.Sprintf("%s skipped, which no rule allows: %q", skip.Test, skip.Reason))
		}
	}
	return complaints
}

func (r Rule) allows(suite, reason string) bool {
	if ok, _ := path.Match(r.Suite, suite); !ok && r.Suite != "*" {
		return false
	}
	pattern := strings.ReplaceAll(regexp.QuoteMeta(r.Reason), `\*`, ".*")
	ok, err := regexp.MatchString("^"+pattern+"$", reason)
	return err == nil && ok
}

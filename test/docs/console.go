// Package docs runs the terminal sessions that the documents show.
// A session is a block fenced with ```console: what stands after "$ " is typed, every other line is what
// must be printed, where "…" stands for any text.
// Blocks with another fence are not run.
package docs

import (
	"fmt"
	"regexp"
	"strings"
)

// A Command is one line typed in a session and the output it must give.
type Command struct {
	Line string // in the document, from 1
	Text string
	Want []string
}

// Sessions returns the commands of a document's console blocks, in order.
func Sessions(name, document string) ([]Command, error) {
	var commands []Command
	inside := false
	number := 0
	for line := range strings.Lines(document) {
		number++
		line = strings.TrimRight(line, "\r\n")
		typed, isTyped := strings.CutPrefix(line, "$ ")
		switch {
		case !inside:
			inside = line == "```console"
		case line == "```":
			inside = false
		case isTyped:
			commands = append(commands, Command{Line: fmt.Sprintf("%s:%d", name, number), Text: typed})
		case len(commands) == 0:
			return nil, fmt.Errorf("%s:%d: output before a command", name, number)
		default:
			last := &commands[len(commands)-1]
			last.Want = append(last.Want, line)
		}
	}
	if inside {
		return nil, fmt.Errorf("%s: a console block is not closed", name)
	}
	return commands, nil
}

// Matches says whether the output is what the document shows. Runs of blanks count as one, because
// columns move with the numbers in them.
func (c Command) Matches(output string) bool {
	if len(c.Want) == 0 {
		return true // a document need not show what a command prints
	}
	pattern := regexp.QuoteMeta(blanks(strings.Join(c.Want, "\n")))
	pattern = strings.ReplaceAll(pattern, "…", "(?s:.*)")
	matched, err := regexp.MatchString("^"+pattern+"$", blanks(output))
	return err == nil && matched
}

var manyBlanks = regexp.MustCompile(`[ \t]+`)

// blanks brings text to the form in which Matches compares it.
func blanks(text string) string {
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(text)) {
		lines = append(lines, strings.TrimSpace(manyBlanks.ReplaceAllString(line, " ")))
	}
	return strings.Join(lines, "\n")
}

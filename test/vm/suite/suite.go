// Package suite is what the host and the virtual machine must agree on: which test programs run, and
// the lines that mark their results in the machine's output.
// A result is a whole line that starts with Mark; everything else is the output of the tests.
// It starts nothing itself.
package suite

import (
	"fmt"
	"strings"
)

// File is where the machine finds the suites, as JSON.
const File = "/vm/suites.json"

// Mark starts the lines that are not output of a test.
const Mark = "::tare-vm "

// A Suite is one test program to run in the machine.
type Suite struct {
	Name    string   `json:"name"`    // the package, as in ./internal/cgroup
	Program string   `json:"program"` // absolute, in the machine
	Args    []string `json:"args"`
	Env     []string `json:"env"`     // besides a short fixed environment
	Dir     string   `json:"dir"`     // working directory, as `go test` would give it
	Seconds int      `json:"seconds"` // to run, before it is killed
	Systemd bool     `json:"systemd"` // run under systemd as the machine's first process
}

// Begin is the line before a suite's output.
func (s Suite) Begin() string { return Mark + "begin " + s.Name }

// End is the line after a suite's output. Status is the exit status, or -1 when it was killed.
func (s Suite) End(status int) string { return fmt.Sprintf("%send %s %d", Mark, s.Name, status) }

// Done is the last line of a machine that came to its end.
const Done = Mark + "done"

// A Result is what one suite gave.
type Result struct {
	Name   string
	Status int // exit status; -1: killed or never ended
	Output []string
}

// A Reader collects results from the machine's lines.
type Reader struct {
	Results []Result
	Done    bool // the machine came to its end
	open    bool
}

// Line takes one line of output and returns what a person should see of it.
func (r *Reader) Line(line string) string {
	line = strings.TrimRight(line, "\r\n")
	mark, marked := strings.CutPrefix(line, Mark)
	fields := strings.Fields(mark)
	switch {
	case !marked && r.open:
		last := &r.Results[len(r.Results)-1]
		last.Output = append(last.Output, line)
	case !marked:
	case mark == "done":
		r.Done = true
		return ""
	case len(fields) == 2 && fields[0] == "begin":
		r.Results = append(r.Results, Result{Name: fields[1], Status: -1})
		r.open = true
		return ""
	case len(fields) == 3 && fields[0] == "end" && r.open:
		last := &r.Results[len(r.Results)-1]
		if _, err := fmt.Sscanf(fields[2], "%d", &last.Status); err != nil || last.Name != fields[1] {
			last.Status = -1
		}
		r.open = false
		return ""
	}
	return line
}

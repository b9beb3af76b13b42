package measure

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// A Goal is a promise and what came of it.
type Goal struct {
	What   string  `json:"what"`
	Value  float64 `json:"value"`
	Target float64 `json:"target"`
	Met    bool    `json:"met"`
}

// Goals collects them.
type Goals []Goal

// Add adds a value that is to be at most the target.
func (g *Goals) Add(what string, value, target float64) {
	*g = append(*g, Goal{What: what, Value: value, Target: target, Met: value <= target})
}

// Write writes them as a table, with that many digits behind the point.
func (g Goals) Write(w io.Writer, digits int) error {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, x := range g {
		verdict := "met"
		if !x.Met {
			verdict = "MISSED"
		}
		fmt.Fprintf(t, "%s\t%.*f\t<= %.*f\t%s\n", x.What, digits, x.Value, digits, x.Target, verdict)
	}
	return t.Flush()
}

// Table writes cells aligned to the right. Errors of w show at the last Flush.
func Table(w io.Writer, title, head string, rows func(io.Writer)) {
	fmt.Fprintln(w, title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, head)
	rows(t)
	_ = t.Flush()
}

// JSON writes a report for programs.
func JSON(w io.Writer, report any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(report)
}

// Wants tells whether a list with commas has a name; an empty one has all.
func Wants(only, name string) bool {
	return only == "" || slices.Contains(strings.Split(only, ","), name)
}

// Kernel names the kernel, its version and the CPU's kind: uname(2).
func Kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown kernel"
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]) + " " +
		unix.ByteSliceToString(u.Machine[:])
}

package enginecli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// table is columns that stand under each other.
func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 8, 3, ' ', 0) }

// printJSON prints a list for programs, in one line.
func printJSON(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// printIndented prints JSON that people read, too.
func printIndented(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "    ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// short is the beginning of an id, as people type it.
func short(id string) string {
	_, hex, ok := strings.Cut(id, ":")
	if !ok {
		hex = id
	}
	return hex[:min(12, len(hex))]
}

// size is a number of bytes for people, in units of 1024 as limits of memory are.
func size(n uint64) string {
	f, unit := float64(n), 0
	for f >= 1023.5 && unit < 5 {
		f /= 1024
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.3g %ciB", f, "KMGTP"[unit-1])
}

// ago is a span of time in its largest unit.
func ago(d time.Duration) string {
	units := []struct {
		name string
		of   time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}}
	for _, u := range units {
		if n := int(d / u.of); n == 1 {
			return "1 " + u.name
		} else if n > 1 {
			return fmt.Sprintf("%d %ss", n, u.name)
		}
	}
	return "now"
}

// harmless is a line that does nothing to a terminal, of n characters at most; n < 1 is no bound.
func harmless(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if r := []rune(s); n > 0 && len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// filterFlag collects KEY=VALUE for the API's parameter filters.
type filterFlag map[string][]string

func (f filterFlag) add(s string) error {
	key, value, ok := strings.Cut(s, "=")
	if !ok || key == "" {
		return fmt.Errorf("%q: want KEY=VALUE", s)
	}
	f[key] = append(f[key], value)
	return nil
}

// encode is the parameter; "" without a filter.
func (f filterFlag) encode() string {
	if len(f) == 0 {
		return ""
	}
	text, err := json.Marshal(f)
	if err != nil {
		return "" // a map of strings
	}
	return string(text)
}

package enginecli

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"tare.dev/tare/internal/console"
)

// A screen is the view of what containers take.
type screen struct {
	out     *os.File
	machine *machine
	samples []sample
	past    map[string][]float64 // shares of the CPU by container, the newest last
	by      byte                 // the column that it is sorted by
}

// Colours (ECMA-48, SGR).
const (
	plain  = "\x1b[0m"
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	cyan   = "\x1b[36m"
)

// pastLength is how many measurements a curve shows.
const pastLength = 24

// add takes a new measurement.
func (v *screen) add(all []sample) {
	past := map[string][]float64{}
	for _, one := range all {
		p := append(v.past[one.ID], one.CPU)
		past[one.ID] = p[max(0, len(p)-pastLength):]
	}
	v.samples, v.past = all, past
	v.machine.measure()
	v.sort()
}

// draw draws all of it at once, so that nothing flickers.
func (v *screen) draw() {
	rows, columns := 24, 80
	if at, err := console.GetSize(v.out); err == nil && at.Rows > 0 {
		rows, columns = int(at.Rows), int(at.Cols)
	}
	var b strings.Builder
	b.WriteString("\x1b[H")
	for _, line := range v.lines(rows, columns) {
		b.WriteString(line)
		b.WriteString(plain + "\x1b[K\r\n")
	}
	text := strings.TrimSuffix(b.String(), "\r\n")
	fmt.Fprint(v.out, text, "\x1b[J")
}

func (v *screen) lines(rows, columns int) []string {
	m := v.machine
	lines := []string{
		fit(fmt.Sprintf(" %stare%s  %d containers   CPU %s %3.0f %%   memory %s %s of %s", bold, plain, len(v.samples),
			bar(m.busy, 100, 16), m.busy, bar(float64(m.used), float64(m.total), 16), size(m.used), size(m.total)), columns),
		"",
	}
	wide := columns >= 100
	head := fmt.Sprintf(" %-20s %7s %-*s %10s %-12s %5s", "NAME", "CPU %", v.curve(wide), "", "MEMORY", "OF LIMIT", "PIDS")
	if wide {
		head += fmt.Sprintf(" %21s %21s", "NET IN / OUT", "DISK READ / WRITTEN")
	}
	lines = append(lines, cyan+fit(head, columns))
	for n := range v.samples {
		if len(lines) >= rows-2 {
			break
		}
		lines = append(lines, v.line(&v.samples[n], wide, columns))
	}
	for len(lines) < rows-1 {
		lines = append(lines, "")
	}
	return append(lines, dim+fit(" c CPU  m memory  d disk  n name  q quit", columns))
}

// curve is how wide the curve of the CPU is.
func (v *screen) curve(wide bool) int {
	if wide {
		return pastLength
	}
	return pastLength / 3
}

func (v *screen) line(one *sample, wide bool, columns int) string {
	width := v.curve(wide)
	past := v.past[one.ID]
	past = past[max(0, len(past)-width):]
	share := strings.Repeat(" ", 12)
	if one.Limit > 0 {
		share = bar(float64(one.Memory), float64(one.Limit), 12)
	}
	text := fmt.Sprintf(" %s%-20s%s %s%7.1f%s %s%s%s%s %10s %s %5d", bold, harmless(one.Name, 20), plain,
		heat(one.CPU, 100), one.CPU, plain, green, curve(past), plain, strings.Repeat(" ", width-len(past)),
		size(one.Memory), share, one.Pids)
	if one.State != "running" {
		return dim + fit(fmt.Sprintf(" %-20s %s", harmless(one.Name, 20), one.Status), columns)
	}
	if wide {
		text += fmt.Sprintf(" %10s %10s %10s %10s", size(one.Received), size(one.Sent), size(one.Read), size(one.Written))
	}
	return fit(text, columns)
}

// bar fills a part of width characters.
func bar(part, all float64, width int) string {
	filled := 0
	if all > 0 {
		filled = min(width, int(part*float64(width)/all+0.5))
	}
	return heat(part, all) + strings.Repeat("█", filled) + dim + strings.Repeat("░", width-filled) + plain
}

// heat is the colour of a part.
func heat(part, all float64) string {
	switch {
	case part >= 0.9*all:
		return red
	case part >= 0.6*all:
		return yellow
	}
	return green
}

// curve draws numbers as columns, the greatest of them, or 10, as the highest.
func curve(past []float64) string {
	steps := []rune("▁▂▃▄▅▆▇█")
	most := 10.0
	for _, p := range past {
		most = max(most, p)
	}
	var b strings.Builder
	for _, p := range past {
		b.WriteRune(steps[min(len(steps)-1, int(p/most*float64(len(steps))))])
	}
	return b.String()
}

// fit cuts a line to that many characters; colours take none.
func fit(s string, columns int) string {
	seen := 0
	for at := 0; at < len(s); {
		if s[at] == '\x1b' {
			end := strings.IndexByte(s[at:], 'm')
			if end < 0 {
				return s[:at]
			}
			at += end + 1
			continue
		}
		if seen == columns {
			return s[:at]
		}
		seen++
		_, n := utf8.DecodeRuneInString(s[at:])
		at += n
	}
	return s
}

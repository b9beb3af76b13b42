package cgroup

import (
	"fmt"
	"slices"
	"strings"
)

// mount is one cgroup or cgroup2 line of /proc/PID/mountinfo.
type mount struct {
	root    string // the directory of the hierarchy that is mounted, as this cgroup namespace names it
	point   string // mount point
	v2      bool
	options []string // super block options: on v1 the controllers are among them
}

// parseMountinfo returns the cgroup mounts in the order of the text, which is
// the order of mounting. A later mount on the same point hides the earlier one.
// The format is that of proc_pid_mountinfo(5).
func parseMountinfo(text string) ([]mount, error) {
	var found []mount
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		// Optional fields end with a lone dash, so their number does not matter.
		before, after, ok := strings.Cut(line, " - ")
		if !ok {
			return nil, fmt.Errorf("mountinfo line %q: no separator", line)
		}
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 6 || len(right) < 1 {
			return nil, fmt.Errorf("mountinfo line %q: too few fields", line)
		}
		point := unescape(left[4])
		// Whatever is mounted on the same point now hides what was there.
		found = slices.DeleteFunc(found, func(m mount) bool { return m.point == point })
		kind := right[0]
		if kind != "cgroup" && kind != "cgroup2" {
			continue
		}
		m := mount{root: unescape(left[3]), point: point, v2: kind == "cgroup2"}
		if len(right) > 2 {
			m.options = strings.Split(right[2], ",")
		}
		found = append(found, m)
	}
	return found, nil
}

// unescape undoes the \ooo escapes that the kernel writes for space, tab,
// newline and backslash in paths.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && isOctal(s[i+1:i+4]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isOctal(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '7' {
			return false
		}
	}
	return true
}

// membership is one line of /proc/PID/cgroup: see cgroups(7).
type membership struct {
	id          int
	controllers []string // empty for v2; "name=x" for a named v1 hierarchy
	path        string
}

// parseMembership reads the text of /proc/PID/cgroup.
func parseMembership(text string) ([]membership, error) {
	var found []membership
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 || !strings.HasPrefix(parts[2], "/") {
			return nil, fmt.Errorf("cgroup line %q: not id:controllers:path", line)
		}
		m := membership{path: parts[2]}
		if _, err := fmt.Sscanf(parts[0], "%d", &m.id); err != nil {
			return nil, fmt.Errorf("cgroup line %q: id: %w", line, err)
		}
		if parts[1] != "" {
			m.controllers = strings.Split(parts[1], ",")
		}
		found = append(found, m)
	}
	return found, nil
}

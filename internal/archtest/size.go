package archtest

import (
	"fmt"
	"strconv"
	"strings"
)

// A Ceiling is the most bytes the device program may have on one CPU.
type Ceiling struct {
	Arch  string // as in GOARCH
	Bytes int64
}

// ParseCeilings reads lines of "GOARCH BYTES"; "#" starts a comment.
func ParseCeilings(text string) ([]Ceiling, error) {
	var all []Ceiling
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("sizes: %q: want GOARCH BYTES", line)
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("sizes: %q: want a number of bytes above 0", line)
		}
		all = append(all, Ceiling{fields[0], n})
	}
	return all, nil
}

// Check complains of a program above the ceiling, and of a ceiling more than a quarter above the
// program: such a ceiling would let the next growth pass unseen. "" means neither.
func (c Ceiling) Check(size int64) string {
	switch {
	case size > c.Bytes:
		return fmt.Sprintf("cmd/tare for %s has %d bytes, %d over its ceiling: see what the change links "+
			"(go test ./internal/archtest -run Linked), or raise testdata/size.txt and say why", c.Arch, size, size-c.Bytes)
	case size+size/4 < c.Bytes:
		return fmt.Sprintf("cmd/tare for %s has %d bytes: lower its ceiling of %d", c.Arch, size, c.Bytes)
	}
	return ""
}

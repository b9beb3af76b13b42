package imagecli

import (
	"strings"
	"testing"
)

func TestHistoryShowsHarmlessLines(t *testing.T) {
	if got := line("a\x1b[31m\n\tb", false); got != "a [31m b" {
		t.Errorf("line = %q", got)
	}
	if got := line(strings.Repeat("ü", 50), false); got != strings.Repeat("ü", 44)+"…" {
		t.Errorf("line = %q", got)
	}
}

package imagecli

import (
	"testing"

	"tare.dev/tare/internal/transfer"
)

func TestLiveLineFitsTheTerminal(t *testing.T) {
	const label, text = "layer 1 c071c1f4127b", "76.3 MB of 76.6 MB  36.2 MB/s"
	for columns, want := range map[int]string{
		200: label + " [###############               ] " + text,
		80:  label + " [#############             ] " + text,
		55:  label + " [ ] " + text,
		54:  label + " " + text,
		24:  label + " 76",
		0:   "",
	} {
		got := liveLine(label, text, transfer.Event{Current: 20, Total: 40}, columns)
		if got != want || len(got) >= max(columns, 1) {
			t.Errorf("liveLine in %d columns = %q, want %q", columns, got, want)
		}
	}
	if got := liveLine("l", "t", transfer.Event{Current: 50, Total: 40}, 40); got != "l [##############################] t" {
		t.Errorf("liveLine of too much = %q", got)
	}
}

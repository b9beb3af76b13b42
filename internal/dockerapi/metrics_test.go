package dockerapi

import (
	"strings"
	"testing"
)

// TestFamiliesAreNamedAsOpenMetricsSays: a unit is the end of a name, and what a counter's lines end in is not in it.
func TestFamiliesAreNamedAsOpenMetricsSays(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range families() {
		if f.unit != "" && !strings.HasSuffix(f.name, "_"+f.unit) || strings.HasSuffix(f.name, "_total") || seen[f.name] || f.help == "" {
			t.Errorf("%+v", f)
		}
		seen[f.name] = true
	}
	if got := escapeLabel("a\"b\\c\nd"); got != `a\"b\\c\nd` {
		t.Errorf("escapeLabel = %s", got)
	}
}

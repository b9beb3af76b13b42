package runtimetest

import (
	"testing"

	"tare.dev/tare/test/runtime/report"
)

// CVE-2022-29162: exec put the capabilities it was given into the inheritable set as well, so that a
// program with inheritable file capabilities gained them.
func TestAttackExecLeavesInheritableEmpty(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "sleep", "60").up()
	for _, args := range [][]string{{"--cap", "CAP_NET_RAW", "--", "/probe", "report"}, {"/probe", "report"}, {"--user", "1000", "--", "/probe", "report"}} {
		r := b.decode(b.mustExec(args...))
		if r.Caps[report.Inheritable] != 0 || r.Caps[report.Ambient]&^capNetRaw != 0 {
			t.Errorf("exec %v: %v", args, r.Caps)
		}
	}
	if r := newBundle(t).report(); r.Caps[report.Inheritable] != 0 {
		t.Errorf("run: %v", r.Caps)
	}
}

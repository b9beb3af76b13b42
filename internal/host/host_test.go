package host

import "testing"

func TestVersion(t *testing.T) {
	for in, want := range map[string][2]int{
		"6.1.0-21-amd64": {6, 1}, "4.19.0": {4, 19}, "5.10": {5, 10}, "6.18.44-x": {6, 18}, "": {0, 0},
	} {
		if a, b := version(in); a != want[0] || b != want[1] {
			t.Errorf("version(%q) = %d, %d, want %v", in, a, b, want)
		}
	}
}

func TestInUserNS(t *testing.T) {
	for in, want := range map[string]bool{
		"         0          0 4294967295\n": false,
		"         0     100000      65536\n": true,
		"":                                   true,
	} {
		if got := inUserNS(in); got != want {
			t.Errorf("inUserNS(%q) = %v, want %v", in, got, want)
		}
	}
}

func TestLimitTakesAbilitiesAway(t *testing.T) {
	f := Facts{Major: 6, Minor: 18, Clone3: true, MountAPI: true, Openat2: true, MountSetattr: true, CloseRange: true}
	if g := f.Limit(4, 19); g.Clone3 || g.MountAPI || g.Openat2 || g.MountSetattr || g.CloseRange {
		t.Errorf("Limit(4, 19) = %+v, want none of the newer calls", g)
	}
	if g := f.Limit(5, 10); !g.Clone3 || !g.MountAPI || !g.Openat2 || g.MountSetattr || g.CloseRange {
		t.Errorf("Limit(5, 10) = %+v", g)
	}
}

// The child's cpuset would be its parent's.
func TestOldCloneIntoACgroupIsNotTrusted(t *testing.T) {
	f := Facts{Major: 6, Minor: 18, Clone3: true, IntoCgroup: true}
	for minor, want := range map[int]bool{6: false, 7: false, 10: false, 15: true} {
		if got := f.Limit(5, minor).IntoCgroup; got != want {
			t.Errorf("Limit(5, %d).IntoCgroup = %v, want %v", minor, got, want)
		}
	}
}

func TestProbe(t *testing.T) {
	f := Probe()
	if f.Major < 4 || f.LastCap < 37 {
		t.Errorf("Probe = %+v", f)
	}
	t.Logf("%+v", f)
}

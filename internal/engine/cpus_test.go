package engine

import (
	"strings"
	"testing"
)

func TestCPUsAreApart(t *testing.T) {
	motor := cpuUse{"motor", "3", true}
	video := cpuUse{"video", "1-2", false}
	plain := cpuUse{name: "plain"}
	for _, c := range []struct {
		own    cpuUse
		others []cpuUse
		shared string
		err    string
	}{
		{own: plain},
		{own: plain, others: []cpuUse{video}},
		{own: plain, others: []cpuUse{motor}, shared: "0,1,2"},
		{own: video, others: []cpuUse{motor, plain}, shared: "0,1,2"},
		{own: motor, others: []cpuUse{video, plain}, shared: "0,1,2"},
		{own: cpuUse{"logic", "2-3", false}, others: []cpuUse{motor}, err: "logic asks for the CPUs 2-3, and motor has 3"},
		{own: cpuUse{"logic", "2", true}, others: []cpuUse{video}, err: "and video has 1-2"},
		{own: cpuUse{"logic", "0,1,2", true}, others: []cpuUse{motor}},
		{own: cpuUse{"logic", "0-2", true}, others: []cpuUse{motor, plain}, err: "no CPU is left"},
		{own: plain, others: []cpuUse{{"all", "0-3", true}}, err: "no CPU is left"},
		{own: cpuUse{"logic", "", true}, err: "has no list of CPUs"},
		{own: cpuUse{"logic", "x", true}, err: "must be as in"},
	} {
		shared, err := apart(c.own, "0-3", c.others)
		if shared != c.shared || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("apart(%v, %v) = %q, %v; want %q, %q", c.own, c.others, shared, err, c.shared, c.err)
		}
	}
}

func TestParseCPUs(t *testing.T) {
	for list, want := range map[string]string{"0": "0", "0-2,5\n": "0,1,2,5", "3,1": "1,3"} {
		if s, err := parseCPUs(list); err != nil || s.String() != want {
			t.Errorf("parseCPUs(%q) = %v, %v; want %s", list, s, err, want)
		}
	}
	for _, list := range []string{"", "a", "2-1", "-1", "0-", "0-99999"} {
		if s, err := parseCPUs(list); err == nil {
			t.Errorf("parseCPUs(%q) = %v", list, s)
		}
	}
}

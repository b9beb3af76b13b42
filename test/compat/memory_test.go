package compat

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMemoryIsGuaranteedAndTaken: what a container is promised counts for the kernel, and the least important one
// gives way, both where control groups are of version 2 and where they are of version 1.
func TestMemoryIsGuaranteedAndTaken(t *testing.T) {
	e := start(t, "--memory-pressure", "20ms/100%")
	id := e.must("", "tare", "run", "-d", "--name", "low", "--label", "dev.tare.importance=10", "--memory-reservation", "8m", "--restart", "always",
		"--stop-timeout", "0", "--network", "none", "busybox:1", "sleep", "1000")
	v2 := exists("/sys/fs/cgroup/cgroup.controllers")
	group := func(parts ...string) string {
		text, err := os.ReadFile(filepath.Join(append([]string{"/sys/fs/cgroup/tare"}, parts...)...))
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(string(text))
	}
	if v2 {
		for _, parts := range [][]string{{"memory.low"}, {id, "memory.low"}} {
			if got := group(parts...); got != "8388608" {
				t.Errorf("%v = %s, want 8 MiB", parts, got)
			}
		}
	}
	if !exists("/proc/pressure/memory") {
		if out := e.must("", "tare", "info"); !strings.Contains(out, "lack of memory is not seen") {
			t.Errorf("info does not say that the kernel has no PSI:\n%s", out)
		}
		return
	}
	data := filepath.Join(e.root, "data")
	if err := os.WriteFile(data, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(data, 64<<20); err != nil { // a hole takes no disk, and fills the reader's own page cache
		t.Fatal(err)
	}
	e.must("", "tare", "run", "-d", "--name", "hog", "--label", "dev.tare.importance=90", "-m", "8m", "--network", "none", "-v", data+":/data:ro", "busybox:1",
		"sh", "-c", "for i in 1 2 3 4; do while :; do cat /data >/dev/null; done & done; wait")
	e.wait("low is slowed down", func() bool { return strings.Contains(e.output("tare", "why", "low"), "is slowed down") })
	if v2 {
		if weight, high := group(id, "cpu.weight"), group(id, "memory.high"); weight != "1" || high != "8388608" {
			t.Errorf("slowed down: cpu.weight %s, memory.high %s; want 1 and 8 MiB", weight, high)
		}
	}
	e.wait("low was restarted", func() bool {
		return strings.Contains(e.output("tare", "why", "low"), "to slow it down has not helped") && strings.Contains(e.output("tare", "ps"), "low")
	})
	e.must("", "tare", "rm", "-f", "hog", "low")
	if v2 {
		if got := group("memory.low"); got != "0" {
			t.Errorf("memory.low of the group above = %s, want 0", got)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

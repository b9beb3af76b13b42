package resident

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"
)

func rss(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nRss:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestTrimGivesMemoryBack and goes on: constants, tables and code are what they were.
func TestTrimGivesMemoryBack(t *testing.T) {
	garbage := bytes.Repeat([]byte("garbage"), 1<<20)
	before := rss(t)
	sum := 0
	for _, b := range garbage {
		sum += int(b)
	}
	garbage = nil
	for range 3 {
		Trim()
	}
	if after := rss(t); after > before-7<<10 {
		t.Errorf("%d KiB, then %d: less than the garbage alone", before, after)
	}
	if sum == 0 || strings.ToUpper(strconv.Quote("straße")) != `"STRASSE"` && strings.ToUpper("ß") == "SS" {
		t.Error("the program is not what it was")
	}
}

func TestConstantFindsWhatCannotBeWritten(t *testing.T) {
	got := constant([]byte(`00400000-00a00000 r-xp 00000000 00:2b 5 /bin/x y
Rss: 4 kB
Anonymous: 0 kB
00a00000-00f00000 r--p 00600000 00:2b 5 /bin/x y
Anonymous: 0 kB
00f00000-00f80000 rw-p 00b00000 00:2b 5 /bin/x y
Anonymous: 0 kB
00f80000-00f81000 r--p 00b00000 00:2b 5 /lib/relocated
Anonymous: 4 kB
c000000000-c000400000 rw-p 00000000 00:00 0 
Anonymous: 0 kB
7ffc0000-7ffc1000 r--p 00000000 00:00 0 [vvar]
Anonymous: 0 kB
7ffc1000-7ffc3000 r-xp 00000000 00:00 0 [vdso]
Anonymous: 0 kB
broken
f-e r-xp 0 0 0 /x
Anonymous: 0 kB
`))
	if len(got) != 2 || got[0] != (mapping{0x400000, 0x600000}) || got[1] != (mapping{0xa00000, 0x500000}) {
		t.Errorf("constant = %x", got)
	}
}

package keeper

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mapped is how much of files is mapped, in KiB.
func mapped(t *testing.T) int {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if f := strings.Fields(s.Text()); f[0] == "RssFile:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Skip("needs RssFile in /proc/self/status (Linux 4.5)")
	return 0
}

func TestDropPages(t *testing.T) {
	before := mapped(t)
	if err := DropPages(); err != nil {
		t.Fatal(err)
	}
	after := mapped(t)
	t.Logf("%d KiB of files are mapped, %d were before", after, before)
	if after >= before {
		t.Errorf("%d KiB of files are mapped, %d were before", after, before)
	}
}

func TestOnlyUnchangedFilesAreDropped(t *testing.T) {
	const smaps = `00400000-0061b000 r-xp 00000000 fe:00 141   /usr/bin/a name
Size:               2156 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me sd
0081a000-0081c000 r--p 0021a000 fe:00 141       /usr/bin/relocated
Anonymous:             8 kB
0081c000-0081e000 r--p 0021a000 fe:00 141       /usr/bin/b (deleted)
Anonymous:             0 kB
0081e000-00820000 rw-p 0021c000 fe:00 141       /usr/bin/written
Anonymous:             0 kB
00820000-00822000 r--s 0021c000 fe:00 141       /dev/shared
Anonymous:             0 kB
01000000-01200000 r--p 00000000 00:00 0
Anonymous:             0 kB
7ffe000-7fff000 r-xp 00000000 00:00 0           [vdso]
Anonymous:             0 kB
zzz-yyy r-xp 00000000 fe:00 141                 /bad
Anonymous:             0 kB
`
	want := []span{{0x400000, 0x61b000}, {0x81c000, 0x81e000}}
	if got := unchanged(smaps); !slices.Equal(got, want) {
		t.Errorf("unchanged() = %x, want %x", got, want)
	}
}

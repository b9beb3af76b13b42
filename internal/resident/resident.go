// Package resident gives memory back that a process at rest need not hold: garbage, and the pages of its own program
// that it has mapped. Those stay in the page cache, where others may take their place; what is needed again is mapped
// again. A Go program maps most of its file when it starts, 16 pages for each that it touches, and would hold it for as
// long as it lives.
package resident

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"
)

// Trim gives back what can be had. It takes about a millisecond, and the next work some hundred page faults.
func Trim() {
	debug.FreeOSMemory()
	Program()
}

// Program gives back the pages of the program alone, which takes no collection of garbage.
func Program() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return // without /proc there is nothing to find out
	}
	for _, m := range constant(maps) {
		// The pages are of a file and were never written to, so they can be had again (madvise(2)).
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.size, unix.MADV_DONTNEED) // failing, it saves nothing
	}
}

type mapping struct{ start, size uintptr }

// constant finds the mappings of a file that cannot be written to: text and constants (proc(5)). Others' dirty pages
// would be lost. No code here is relocated when it is loaded: that would make such pages dirty, too.
func constant(maps []byte) (all []mapping) {
	for line := range bytes.Lines(maps) {
		f := bytes.Fields(line)
		if len(f) < 6 || f[5][0] != '/' {
			continue
		}
		if kind := string(f[1]); kind != "r-xp" && kind != "r--p" {
			continue
		}
		from, to, _ := bytes.Cut(f[0], []byte("-"))
		start, err1 := strconv.ParseUint(string(from), 16, strconv.IntSize)
		end, err2 := strconv.ParseUint(string(to), 16, strconv.IntSize)
		if err1 == nil && err2 == nil && end > start {
			all = append(all, mapping{uintptr(start), uintptr(end - start)})
		}
	}
	return all
}

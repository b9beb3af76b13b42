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
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return // not every kernel has it
	}
	for _, m := range constant(smaps) {
		// The pages are of a file and were never written to, so they can be had again (madvise(2)).
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.size, unix.MADV_DONTNEED) // failing, it saves nothing
	}
}

type mapping struct{ start, size uintptr }

// constant finds the mappings of a file that cannot be written to and have no page that was: text and constants
// (proc(5)). Dirty pages would be lost: those that a linker relocates before they become constant, as libc's under
// the race detector, or that a debugger has put a breakpoint in.
func constant(smaps []byte) (all []mapping) {
	var now mapping
	for line := range bytes.Lines(smaps) {
		f := bytes.Fields(line)
		switch {
		case len(f) > 0 && !bytes.HasSuffix(f[0], []byte(":")):
			now = fileMapping(f)
		case len(f) > 1 && now.size > 0 && string(f[0]) == "Anonymous:" && string(f[1]) == "0":
			all = append(all, now)
		}
	}
	return all
}

// fileMapping reads the fields of a mapping's first line; the size is 0 when it is not one of a file for reading.
func fileMapping(f [][]byte) (m mapping) {
	if len(f) < 6 || f[5][0] != '/' {
		return m
	}
	if kind := string(f[1]); kind != "r-xp" && kind != "r--p" {
		return m
	}
	from, to, _ := bytes.Cut(f[0], []byte("-"))
	start, err1 := strconv.ParseUint(string(from), 16, strconv.IntSize)
	end, err2 := strconv.ParseUint(string(to), 16, strconv.IntSize)
	if err1 != nil || err2 != nil || end <= start {
		return m
	}
	return mapping{uintptr(start), uintptr(end - start)}
}

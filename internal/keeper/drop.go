package keeper

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DropPages unmaps what the process has touched so far of its program's file.
// What it still needs comes back by itself, from memory (madvise(2),
// MADV_DONTNEED): the rest, several megabytes that only a start takes, counts for
// the process no longer, and the kernel can have them without asking.
func DropPages() error {
	text, err := os.ReadFile("/proc/self/smaps") // not in every kernel
	if err != nil {
		return err
	}
	for _, m := range unchanged(string(text)) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("drop pages %#x to %#x: %w", m.from, m.to, errno)
		}
	}
	return nil
}

type span struct{ from, to uintptr }

// unchanged finds the mappings of files in a text like /proc/PID/smaps that
// cannot be written and never were: not by a linker or a debugger either.
func unchanged(smaps string) (list []span) {
	var now span
	for line := range strings.Lines(smaps) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case !strings.HasSuffix(f[0], ":"): // address perms offset dev inode path
			now = span{}
			if len(f) >= 6 && len(f[1]) == 4 && f[1][1] == '-' && f[1][3] == 'p' && f[5][0] == '/' {
				now = addresses(f[0])
			}
		case f[0] == "Anonymous:" && len(f) > 1 && f[1] == "0" && now.to > now.from:
			list = append(list, now)
		}
	}
	return list
}

func addresses(text string) span {
	from, to, _ := strings.Cut(text, "-")
	a, err1 := strconv.ParseUint(from, 16, strconv.IntSize)
	b, err2 := strconv.ParseUint(to, 16, strconv.IntSize)
	if err1 != nil || err2 != nil {
		return span{}
	}
	return span{uintptr(a), uintptr(b)}
}

package keeper

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// store holds descriptors by name.
type store map[string][]int

// put takes files over; what the name stood for is closed. On an error they are
// the caller's still.
func (s store) put(name string, files []int) error {
	n := len(files) - len(s[name])
	for _, held := range s {
		n += len(held)
	}
	if n > maxHeld {
		return unix.ENOSPC
	}
	closeAll(s[name])
	s[name] = files
	return nil
}

// drop closes what a name stands for, and tells whether it stood for something.
func (s store) drop(name string) bool {
	files, ok := s[name]
	closeAll(files)
	delete(s, name)
	return ok
}

// after lists the names behind one, in order.
func (s store) after(name string) []string {
	names := slices.Sorted(maps.Keys(s))
	i, ok := slices.BinarySearch(names, name)
	if ok {
		i++
	}
	return names[i:]
}

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Pids lists all processes of the group and of the groups below it, ascending,
// as this process's pid namespace numbers them. Processes that it does not know
// are left out. It is empty when the group is gone.
func (g Group) Pids() ([]int, error) {
	dir, err := g.main()
	if err != nil {
		return nil, err
	}
	return processes(dir)
}

// processes lists the processes in dir and below.
func processes(dir string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if gone(err) {
			return nil // removed while we walk
		}
		if err != nil || !d.IsDir() {
			return err
		}
		list, err := processesIn(path)
		pids = append(pids, list...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list processes of %s: %w", dir, rootCause(err))
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// processesIn lists the processes of one group.
func processesIn(dir string) ([]int, error) {
	text, err := readFile(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, unix.EOPNOTSUPP) {
		// A threaded v2 group shows its threads only.
		text, err = readFile(filepath.Join(dir, "cgroup.threads"))
	}
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parsePids(string(text))
}

// parsePids reads a list of pids, one a line. 0 stands for a process outside of
// our pid namespace: it is left out, as kill(0) would be for ourselves.
func parsePids(text string) ([]int, error) {
	var pids []int
	for _, word := range strings.Fields(text) {
		pid, err := strconv.Atoi(word)
		if err != nil || pid < 0 {
			return nil, fmt.Errorf("%q is not a pid", word)
		}
		if pid != 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// gone reports whether err says that a group is no more: ENOENT, or ENODEV for a
// file that was open already.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
}

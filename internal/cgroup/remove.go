package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// removeTime is how long Remove waits for the last process to be gone: it may
// have been killed the moment before, and the kernel takes its time with the
// memory and namespaces of it.
const removeTime = 5 * time.Second

// Remove removes the directories of the group with all groups below them and
// stops the systemd unit. It is no error when they are gone already. Processes
// are not killed: while there are any it fails with EBUSY.
func (g Group) Remove() error {
	var failed []error
	if g.Unit != "" {
		ctx, cancel := context.WithTimeout(context.Background(), unitTime)
		defer cancel()
		failed = append(failed, stopUnit(ctx, g.Unit, g.UserUnit))
	}
	end := time.Now().Add(removeTime)
	for _, dir := range g.dirs() {
		failed = append(failed, removeTree(dir, end))
	}
	return errors.Join(failed...)
}

// removeTree removes dir and the groups below it, the deepest first, until end.
func removeTree(dir string, end time.Time) error {
	// Mostly there is nothing below it and it is empty.
	if err := unix.Rmdir(dir); err == nil || err == unix.ENOENT {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if gone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove cgroup %s: %w", dir, rootCause(err))
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name()), end); err != nil {
				return err
			}
		}
	}
	return removeEmpty(dir, end)
}

// removeEmpty removes one directory, waiting while the kernel says EBUSY.
func removeEmpty(dir string, end time.Time) error {
	err := wait(time.Until(end), func(int) (bool, error) {
		switch err := unix.Rmdir(dir); err {
		case nil, unix.ENOENT:
			return true, nil
		case unix.EBUSY, unix.EINTR:
			return false, nil
		default:
			return false, err
		}
	})
	if errors.Is(err, unix.ETIMEDOUT) {
		pids, _ := processes(dir) // only to say more: the error is known
		return fmt.Errorf("remove cgroup %s: %d processes in it: %w", dir, len(pids), unix.EBUSY)
	}
	if err != nil {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	return nil
}

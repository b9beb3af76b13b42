package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A tracer counts the barriers that ext4 is asked for, in a trace buffer of its own (kernel,
// Documentation/trace/ftrace.rst, "Instances").
type tracer struct{ dir string }

// barrierEvents are fsync and fdatasync of a file, and syncfs or sync of a file system.
var barrierEvents = []string{"ext4_sync_file_enter", "ext4_sync_fs"}

// newTracer returns nil where the kernel cannot trace.
func newTracer(scratch string) (*tracer, error) {
	at := filepath.Join(scratch, "trace")
	if err := os.Mkdir(at, 0o700); err != nil {
		return nil, err
	}
	if err := unix.Mount("tracefs", at, "tracefs", 0, ""); err != nil {
		if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY) {
			return nil, nil
		}
		return nil, fmt.Errorf("mount tracefs: %w", err)
	}
	t := &tracer{dir: filepath.Join(at, "instances", filepath.Base(scratch))}
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return nil, err
	}
	for _, e := range barrierEvents {
		if err := os.WriteFile(filepath.Join(t.dir, "events/ext4", e, "enable"), []byte("1"), 0); err != nil {
			return nil, errors.Join(err, t.remove())
		}
	}
	return t, nil
}

func (t *tracer) remove() error { return os.Remove(t.dir) }

// clear forgets what was counted. Opening to truncate is what clears the buffer; truncate(2) does not.
func (t *tracer) clear() error { return os.WriteFile(filepath.Join(t.dir, "trace"), nil, 0) }

// count is the barriers since clear on a device ("7,3") by processes of these names. Others ask for
// some by sync(2), which is for all file systems.
func (t *tracer) count(dev string, names []string) (int, error) {
	text, err := os.ReadFile(filepath.Join(t.dir, "trace"))
	if err != nil {
		return 0, err
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, " dev "+dev+" ") {
			continue
		}
		// syncfs calls the file system twice: to begin, and to wait.
		if strings.Contains(line, "ext4_sync_fs:") && !strings.Contains(line, "wait 1") {
			continue
		}
		// "         dockerd-1234    [001] .....  5678.901234: ext4_sync_fs: dev 7,0 wait 1"
		task, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if i := strings.LastIndexByte(task, '-'); i > 0 && slices.Contains(names, task[:i]) {
			n++
		}
	}
	return n, nil
}

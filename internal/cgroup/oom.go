package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// OOM returns a channel that gets a value each time the kernel kills a process
// of the group for lack of memory. It is closed when the group is gone or, on
// v2, empty, and when ctx is done. A slow reader misses events, never the close.
func (g Group) OOM(ctx context.Context) (<-chan struct{}, error) {
	if dir, ok := g.Paths["memory"]; ok {
		return oomV1(ctx, dir)
	}
	if dir := g.v2(); dir != "" {
		return oomV2(ctx, dir)
	}
	return nil, fmt.Errorf("watch for out of memory: %w memory in use by the container", ErrController)
}

// oomV1 has an eventfd signalled through cgroup.event_control: memory.rst of
// cgroup-v1, section 9. It is signalled too when the group is removed.
func oomV1(ctx context.Context, dir string) (<-chan struct{}, error) {
	control, err := os.Open(filepath.Join(dir, "memory.oom_control"))
	if err != nil {
		return nil, fmt.Errorf("watch for out of memory: %w", err)
	}
	defer control.Close() // the registration holds it
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch for out of memory: eventfd: %w", err)
	}
	file := os.NewFile(uintptr(fd), "eventfd")
	registration := fmt.Sprintf("%d %d", fd, control.Fd())
	if err := writeFile(filepath.Join(dir, "cgroup.event_control"), registration); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("watch for out of memory: %w", err)
	}
	return watch(ctx, file, 8, func([]byte) (bool, bool) {
		there := exists(filepath.Join(dir, "cgroup.event_control"))
		return there, !there
	}), nil
}

// oomV2 watches memory.events for a higher count of oom_kill and cgroup.events
// for the last process's end: the kernel reports changes of both through inotify.
func oomV2(ctx context.Context, dir string) (<-chan struct{}, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch for out of memory: inotify: %w", err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	for _, name := range []string{"memory.events", "cgroup.events"} {
		path := filepath.Join(dir, name)
		if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY); err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("watch for out of memory: %s: %w", path, err)
		}
	}
	kills, _ := readKeyed(dir, "memory.events")
	last := kills["oom_kill"]
	look := func(events []byte) (happened, over bool) {
		memory, err := readKeyed(dir, "memory.events")
		happened = err == nil && memory["oom_kill"] > last
		last = max(last, memory["oom_kill"])
		state, err2 := readKeyed(dir, "cgroup.events")
		return happened, err != nil || err2 != nil || state["populated"] == 0 || ignored(events)
	}
	return watch(ctx, file, 4096, look), nil
}

// ignored reports whether the events include IN_IGNORED: the file is removed.
func ignored(events []byte) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&events[0]))
		if e.Mask&unix.IN_IGNORED != 0 {
			return true
		}
		size := unix.SizeofInotifyEvent + int(e.Len)
		if size > len(events) {
			return false
		}
		events = events[size:]
	}
	return false
}

// watch reads from file until look says that it is over, ctx is done or reading
// fails, and then closes both the file and the channel.
func watch(ctx context.Context, file *os.File, size int, look func([]byte) (happened, over bool)) <-chan struct{} {
	events := make(chan struct{}, 1)
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	go func() {
		defer close(events)
		defer file.Close()
		defer stop()
		buffer := make([]byte, size)
		for {
			n, err := file.Read(buffer)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return
			}
			happened, over := look(buffer[:n])
			if happened {
				select {
				case events <- struct{}{}:
				default: // the reader has one to come already
				}
			}
			if over {
				return
			}
		}
	}()
	return events
}

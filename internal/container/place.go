package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/sysprog"
)

// missingPlace tells which mount's place the start could not make because a
// link in the image leads to where nothing is: /etc/resolv.conf in many.
func (k *creation) missingPlace(err error) (mount int, ok bool) {
	var f *sysprog.Failure
	if !errors.As(err, &f) || !errors.Is(f.Errno, unix.ENOENT) {
		return 0, false
	}
	mount, ok = k.prog.Missing[f.Index]
	for _, done := range k.in.Places {
		ok = ok && done != mount
	}
	return mount, ok
}

// makePlace makes the mount point of the next mount that asks for it, in the
// waiting child's view of the container's tree.
func (k *creation) makePlace() error {
	if k.placed >= len(k.in.Places) {
		return errors.New("process asks for an unknown mount point")
	}
	m := &k.spec.Mounts[k.in.Places[k.placed]]
	k.placed++
	root := "/proc/" + strconv.Itoa(k.pid) + "/root"
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EACCES) { // not the host's root: it may not look into the process
		dir, err = unix.Open(k.in.Rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return fmt.Errorf("make mount point %s: %w", m.Destination, err)
	}
	defer unix.Close(dir)
	if err := makeIn(dir, m.Destination, k.bindsFile(m.Source, m.Type, m.Options)); err != nil {
		return fmt.Errorf("make mount point %s: %w", m.Destination, err)
	}
	return nil
}

// bindsFile tells whether a mount is a bind mount of something other than a
// directory.
func (k *creation) bindsFile(source, kind string, options []string) bool {
	if kind != "bind" && !has(options, "bind") && !has(options, "rbind") {
		return false
	}
	if !filepath.IsAbs(source) {
		source = filepath.Join(k.o.Bundle, source)
	}
	info, err := os.Stat(source)
	return err == nil && !info.IsDir()
}

// makeIn makes path below root, a directory or an empty file, and all that is
// missing on the way. Links are followed as a process inside root would.
func makeIn(root int, path string, file bool) error {
	fd, err := resolveIn(root, path, func(at int, name string, last bool) error {
		if !file || !last {
			return unix.Mkdirat(at, name, 0o755)
		}
		fd, err := unix.Openat(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o755)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	})
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// resolveIn opens path (O_PATH) as a process whose root is root would find it;
// openat2(2) with RESOLVE_IN_ROOT does that too, since Linux 5.6. Missing
// makes what is not there; it may be nil.
func resolveIn(root int, path string, missing func(at int, name string, last bool) error) (int, error) {
	const maxLinks = 40
	todo := strings.Split(path, "/")
	start, err := unix.FcntlInt(uintptr(root), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	stack := []int{start} // the directories from root to where we are
	up := func(depth int) {
		for len(stack) > depth {
			_ = unix.Close(stack[len(stack)-1])
			stack = stack[:len(stack)-1]
		}
	}
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			up(max(1, len(stack)-1))
			continue
		}
		fd, target, err := openStep(stack[len(stack)-1], name, !anyName(todo), missing)
		if err != nil {
			up(0)
			return -1, err
		}
		if fd >= 0 {
			stack = append(stack, fd)
			continue
		}
		if links++; links > maxLinks {
			up(0)
			return -1, unix.ELOOP
		}
		if strings.HasPrefix(target, "/") {
			up(1)
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	fd := stack[len(stack)-1]
	stack = stack[:len(stack)-1]
	up(0)
	return fd, nil
}

func anyName(parts []string) bool {
	for _, p := range parts {
		if p != "" && p != "." {
			return true
		}
	}
	return false
}

// openStep opens name in directory at. Of a link it returns the target, and no
// descriptor.
func openStep(at int, name string, last bool, missing func(at int, name string, last bool) error) (fd int, target string, err error) {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err = unix.Openat(at, name, flags, 0)
	if errors.Is(err, unix.ENOENT) && missing != nil {
		if err := missing(at, name, last); err != nil && !errors.Is(err, unix.EEXIST) {
			return -1, "", err
		}
		fd, err = unix.Openat(at, name, flags, 0)
	}
	if err != nil {
		return -1, "", err
	}
	if target, err = readLink(fd); err != nil { // no link
		return fd, "", nil
	}
	_ = unix.Close(fd)
	return -1, target, nil
}

// readLink reads the link that fd is open on; an error says it is none.
func readLink(fd int) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", b)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// hookPid is the number of process pid as it sees itself: what hooks inside
// the container are told.
func hookPid(pid int) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return pid
	}
	for _, line := range strings.Split(string(b), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "NSpid:" {
			if n, err := strconv.Atoi(f[len(f)-1]); err == nil {
				return n
			}
		}
	}
	return pid
}

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func read(a []string) (string, error) {
	b, err := slurp(a[0])
	return strings.TrimRight(string(b), "\n"), err
}

// write opens an existing file only: what may be written must not depend on what may be made.
func write(a []string) (string, error) {
	fd, err := unix.Open(a[0], unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: a[0], Err: err}
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(a[1]))
	return "", err
}

func create(a []string) (string, error) {
	fd, err := unix.Open(a[0], unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC, 0o666)
	if err != nil {
		return "", &os.PathError{Op: "create", Path: a[0], Err: err}
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(a[1]))
	return "", err
}

func mkdir(a []string) (string, error) { return "", os.Mkdir(a[0], 0o777) }

// stat prints "type mode uid gid size major:minor"; mode is octal, the device is that of a node.
func stat(a []string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(a[0], &st); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %o %d %d %d %d:%d", kind(uint32(st.Mode)), st.Mode&0o7777, st.Uid, st.Gid, st.Size,
		unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))), nil
}

func list(a []string) (string, error) {
	found, _, err := entries(a[0])
	return strings.Join(found, " "), err
}

func chmod(a []string) (string, error) {
	mode, err := strconv.ParseUint(a[1], 8, 32)
	if err != nil {
		return "", err
	}
	return "", unix.Chmod(a[0], uint32(mode))
}

func chown(a []string) (string, error) {
	id, err := strconv.Atoi(a[1])
	if err != nil {
		return "", err
	}
	return "", os.Chown(a[0], id, id)
}

func unlink(a []string) (string, error)   { return "", unix.Unlink(a[0]) }
func symlink(a []string) (string, error)  { return "", os.Symlink(a[0], a[1]) }
func link(a []string) (string, error)     { return "", os.Link(a[0], a[1]) }
func readlink(a []string) (string, error) { return os.Readlink(a[0]) }
func chdir(a []string) (string, error)    { return "", unix.Chdir(a[0]) }
func chroot(a []string) (string, error)   { return "", unix.Chroot(a[0]) }

func access(a []string) (string, error) { return "", unix.Access(a[0], unix.R_OK) }

func exists(a []string) (string, error) {
	_, err := os.Lstat(a[0])
	return "", err
}

// openfd opens for reading without reading: devices may block.
func openfd(a []string) (string, error) {
	fd, err := unix.Open(a[0], unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return "", err
}

// fill writes until it cannot and prints how many KiB went in.
func fill(a []string) (string, error) {
	fd, err := unix.Open(a[0], unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf, total := make([]byte, 4096), 0
	for total < 1<<30 {
		n, err := unix.Write(fd, buf)
		if err != nil {
			return strconv.Itoa(total >> 10), err
		}
		total += n
	}
	return strconv.Itoa(total >> 10), nil
}

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// errNoValue: a cgroup file was read but did not hold the number looked for.
var errNoValue = errors.New("no such value")

func exists(path string) bool {
	return unix.Access(path, unix.F_OK) == nil
}

// readFile is os.ReadFile without the poller: a control file is read within a few
// system calls, of which a start makes many, and os makes three times as many.
func readFile(path string) ([]byte, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	b := make([]byte, 0, 1024)
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, len(b))
		}
		n, err := retry(func() (int, error) { return unix.Read(fd, b[len(b):cap(b)]) })
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return b, nil
		}
		b = b[:len(b)+n]
	}
}

// retry calls f again while a signal interrupts it: Go's runtime sends some.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// readString returns the trimmed text of dir/file, or "" when it cannot be read.
func readString(dir, file string) string {
	b, err := readFile(filepath.Join(dir, file))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// maxUint stands for "max" (v2) in numbers that are read.
const maxUint = ^uint64(0)

// readUint returns the number in dir/file; "max" is maxUint and a negative
// number, which some v1 files give, is 0.
func readUint(dir, file string) (uint64, error) {
	path := filepath.Join(dir, file)
	b, err := readFile(path)
	if err != nil {
		return 0, err
	}
	return parseUint(path, strings.TrimSpace(string(b)))
}

func parseUint(path, s string) (uint64, error) {
	if s == "max" {
		return maxUint, nil
	}
	if strings.HasPrefix(s, "-") {
		if _, err := strconv.ParseInt(s, 10, 64); err == nil {
			return 0, nil
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %q: %w", path, s, errNoValue)
	}
	return n, nil
}

// readKeyed returns the "key number" lines of dir/file. Lines of another form
// are skipped: kernels add some.
func readKeyed(dir, file string) (map[string]uint64, error) {
	b, err := readFile(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	return parseKeyed(string(b)), nil
}

func parseKeyed(text string) map[string]uint64 {
	values := make(map[string]uint64)
	for line := range strings.Lines(text) {
		key, number, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || key == "" {
			continue
		}
		if n, err := parseUint("", number); err == nil {
			values[key] = n
		}
	}
	return values
}

// writeFile writes value in one write(2): a control file takes each write as
// one command. The file is never made.
func writeFile(path, value string) error {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if _, err := retry(func() (int, error) { return unix.Write(fd, []byte(value)) }); err != nil {
		return fmt.Errorf("write %q to %s: %w", value, path, err)
	}
	return nil
}

// rootCause drops the path of a PathError where the caller names it anyway.
func rootCause(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}

// nearest returns path or the nearest directory above it that exists.
func nearest(path string) string {
	for path != "/" && !exists(path) {
		path = filepath.Dir(path)
	}
	return path
}

// writable tells whether this process may make a directory in dir, by its
// effective ids, and if not why: EACCES, EROFS.
func writable(dir string) error {
	return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
}

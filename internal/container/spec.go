package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// readSpec reads a config.json.
func readSpec(path string) (*specs.Spec, []byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read spec: %w", err)
	}
	var s specs.Spec
	if err := decode(b, &s); err != nil {
		return nil, nil, fmt.Errorf("read spec: %s: %w", path, err)
	}
	return &s, b, nil
}

// passwdFile is where a container's users are, below its root.
const passwdFile = "etc/passwd"

// addHome sets HOME from the container's own passwd if the environment has
// none, as people expect of a login. root is a directory, the new root. It
// returns the file that HOME depends on.
func addHome(p *specs.Process, root string) (from string) {
	for _, e := range p.Env {
		if strings.HasPrefix(e, "HOME=") {
			return ""
		}
	}
	p.Env = append(p.Env, "HOME="+homeOf(root, p.User.UID))
	return filepath.Join(root, passwdFile)
}

func homeOf(root string, uid uint32) string {
	home := "/"
	if uid == 0 {
		home = "/root"
	}
	text, err := readIn(root, passwdFile, 1<<20)
	if err != nil {
		return home
	}
	for _, line := range strings.Split(text, "\n") {
		f := strings.Split(line, ":")
		if len(f) >= 6 && f[2] == strconv.FormatUint(uint64(uid), 10) && f[5] != "" {
			return f[5]
		}
	}
	return home
}

// readIn reads a file of a container's tree without following a link, or
// waiting on a FIFO, that an image has put there to mislead.
func readIn(root, path string, limit int) (string, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	flags := unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		fd, err = openPlain(dir, path, flags)
	}
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > int64(limit) {
		return "", fmt.Errorf("read %s: not a regular file of a likely size", path)
	}
	b := make([]byte, limit)
	n, err := f.Read(b)
	if n == 0 && err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// openPlain opens path without following any link: for Linux < 5.6.
func openPlain(dir int, path string, flags int) (int, error) {
	at := dir
	parts := strings.Split(path, "/")
	for i, name := range parts {
		f := unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW
		if i == len(parts)-1 {
			f = flags | unix.O_NOFOLLOW
		}
		fd, err := unix.Openat(at, name, f, 0)
		if at != dir {
			_ = unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at = fd
	}
	return at, nil
}

// rootfsOf returns the absolute path of the bundle's root filesystem.
func rootfsOf(bundle string, s *specs.Spec) (string, error) {
	if s.Root == nil || s.Root.Path == "" {
		return "", errors.New("invalid spec: root.path is missing")
	}
	path := s.Root.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(bundle, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("rootfs %s: %w", path, errors.Unwrap(err))
	}
	if !info.IsDir() {
		return "", fmt.Errorf("rootfs %s: not a directory", path)
	}
	return path, nil
}

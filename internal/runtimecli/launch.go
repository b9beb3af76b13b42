package runtimecli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/container"
)

// launch holds the flags that create and run have in common.
type launch struct {
	bundle        string
	consoleSocket string
	pidFile       string
	pidfdSocket   string
	preserveFDs   int
	noPivot       bool
	noNewKeyring  bool
}

func (l *launch) flags(f *cli.Flags) {
	f.String(&l.bundle, "bundle", "b", "`DIR` with config.json; the current directory unless given")
	f.String(&l.consoleSocket, "console-socket", "", "`SOCKET` (AF_UNIX) that is sent the master of the container's terminal")
	f.String(&l.pidFile, "pid-file", "", "`FILE` that the process id is written to")
	f.String(&l.pidfdSocket, "pidfd-socket", "", "`SOCKET` (AF_UNIX) that is sent a pidfd of the process")
	f.Int(&l.preserveFDs, "preserve-fds", "", "pass on this `NUMBER` of descriptors, from 3 on")
	f.Bool(&l.noPivot, "no-pivot", "", "change the root without pivot_root, for a rootfs on a ramdisk")
	f.Bool(&l.noNewKeyring, "no-new-keyring", "", "keep the caller's session keyring")
	// Whether orphans of the container come to us makes no difference: we wait
	// for our own child only. runc's and crun's callers may still say it.
	f.Bool(new(bool), "no-subreaper", "", "")
}

// options translates the flags for package container.
func (l *launch) options(s *session) (container.CreateOptions, error) {
	var o container.CreateOptions
	if err := s.protect(); err != nil {
		return o, err
	}
	if err := s.log.check(); err != nil {
		return o, err
	}
	bundle, err := filepath.Abs(l.bundle)
	if err != nil {
		return o, fmt.Errorf("--bundle %s: %w", l.bundle, err)
	}
	pidFile, err := absolute(l.pidFile)
	if err != nil {
		return o, fmt.Errorf("--pid-file %s: %w", l.pidFile, err)
	}
	systemd, err := s.systemd()
	if err != nil {
		return o, err
	}
	rootless, err := s.rootlessMode()
	if err != nil {
		return o, err
	}
	if l.preserveFDs < 0 {
		return o, fmt.Errorf("--preserve-fds %d: want 0 or more", l.preserveFDs)
	}
	return container.CreateOptions{
		Bundle:        bundle,
		PidFile:       pidFile,
		ConsoleSocket: l.consoleSocket,
		PidfdSocket:   l.pidfdSocket,
		PreserveFDs:   l.preserveFDs,
		NoPivot:       l.noPivot,
		NoNewKeyring:  l.noNewKeyring,
		SystemdCgroup: systemd,
		Rootless:      rootless,
		Adopted:       l.adopted(s),
		Stdio:         streams(),
		Warn:          s.warn,
		Debug:         s.log.debugf,
	}, nil
}

// adopted tells whether somebody else will wait for the process once we are
// gone: whoever wants to know its number, as engines and systemd do. Nobody
// else would ask for it.
func (l *launch) adopted(s *session) bool {
	return l.pidFile != "" || l.pidfdSocket != "" || s.getenv("NOTIFY_SOCKET") != ""
}

func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}

// makeRoot prepares the user's default root. What lies in XDG_RUNTIME_DIR may be
// cleaned away after a time unless it has the sticky bit (XDG Base Directory
// Specification); the state of a container must not.
func (s *session) makeRoot() error {
	root, err := s.rootDir()
	if err != nil {
		return err
	}
	dir := s.getenv("XDG_RUNTIME_DIR")
	if s.root != "" || dir == "" || !strings.HasPrefix(root, dir) {
		return nil
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	return os.Chmod(root, 0o700|os.ModeSticky)
}

// errConsoleSocket is for a socket that nothing would be sent to.
var errConsoleSocket = errors.New("--console-socket needs --detach: without it the terminal is the caller's own")

// errNoConsoleSocket is for a terminal that nobody would hold the other end of.
var errNoConsoleSocket = errors.New("cannot allocate a terminal for a detached process without --console-socket")

// Package runtimecli is runc's command line over package container.
//
// Every error reaches the person or program that called: on standard error and,
// when asked for, in a log in runc's format; also when that log cannot be written.
// What a container is, and every change to one, is left to package container.
package runtimecli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/container"
)

// Options is what the program around the command line decides. Name must be set.
type Options struct {
	Name    string // the program's name in messages: "tare", or "runc" when called so
	Version string
	Commit  func() string // of this build, "" when not known; asked only for --version

	// LikeRunc makes errors on standard error look as runc's do, for programs
	// that believe to have called it.
	LikeRunc bool

	// Inner is a command line that another command of the program made, which goes on
	// after it: nothing of it is stored for the next time (see openStore), and the exit status tells
	// of a command that is not there as a shell does.
	Inner bool
}

// session is one call of the command line: what the global flags say.
type session struct {
	Options
	root          string
	systemdCgroup bool
	cgroupManager string
	rootless      string
	version       bool
	log           logger

	getenv func(string) string
	open   func(root string) store

	protect func() error // see container.ProtectProgram
}

// Command is the group of runc's commands. It stands as "tare runtime" or, when
// the program is called by the name of a runtime, alone.
func Command(o Options) cli.Command {
	return newSession(o).command()
}

func newSession(o Options) *session {
	s := &session{
		Options: o,
		log:     logger{format: "text", now: time.Now, program: o.Name, likeRunc: o.LikeRunc},
		getenv:  os.Getenv,
	}
	s.open, s.protect = s.openStore, container.ProtectProgram
	return s
}

// openStore lets the store keep what the command line did for the next time,
// unless what it does depends on more than the command line.
func (s *session) openStore(root string) store {
	st := container.Store{Root: root, Warn: s.warn}
	if !s.Inner && os.Getenv("LISTEN_FDS") == "" && os.Getenv("NOTIFY_SOCKET") == "" && !s.log.debug {
		st.Replay = os.Args
	}
	return disk{st}
}

func (s *session) command() cli.Command {
	return cli.Command{
		Name:   "runtime",
		Short:  "run containers from OCI bundles, with runc's command line",
		Flags:  s.flags,
		Report: s.report,
		Run:    s.runGroup,
		Sub: []cli.Command{
			createCommand(s), runCommand(s), startCommand(s), stateCommand(s), killCommand(s),
			deleteCommand(s), execCommand(s), psCommand(s), pauseCommand(s), resumeCommand(s),
			updateCommand(s), eventsCommand(s), statsCommand(s), listCommand(s), waitCommand(s),
			specCommand(s), featuresCommand(s), explainCommand(s), checkpointCommand("checkpoint"),
			checkpointCommand("restore"),
		},
	}
}

func (s *session) flags(f *cli.Flags) {
	f.String(&s.root, "root", "", "`DIR` that holds the state of containers, on a file system in memory")
	f.String(&s.log.path, "log", "", "`FILE` that messages are appended to")
	f.Func(s.setLogFormat, "log-format", "", "`FORMAT` of the log: text or json")
	f.Bool(&s.log.debug, "debug", "", "log what is done, too")
	f.Bool(&s.systemdCgroup, "systemd-cgroup", "", "have systemd make the control groups; cgroupsPath is slice:prefix:name")
	f.String(&s.cgroupManager, "cgroup-manager", "", "`MANAGER` of control groups: cgroupfs or systemd")
	f.String(&s.rootless, "rootless", "", "`MODE` for users without privileges: true, false or auto")
	f.Bool(&s.version, "version", "v", "print the version")
	f.String(new(string), "criu", "", "") // runc up to 1.1 takes it from its callers; it had no use since
}

func (s *session) setLogFormat(v string) error {
	if v != "text" && v != "json" {
		return fmt.Errorf("want text or json")
	}
	s.log.format, s.log.formatGiven = v, true
	return nil
}

// runGroup answers when no verb was given.
func (s *session) runGroup(c *cli.Call) error {
	if !s.version {
		return cli.ErrHelp
	}
	s.printVersion(c.Out)
	return nil
}

// report is where every error ends.
func (s *session) report(std cli.IO, err error) {
	s.log.stderr = std.Err
	s.log.error(err)
}

// warn is handed to package container for what the spec calls a warning.
func (s *session) warn(format string, args ...any) {
	s.log.warn(fmt.Sprintf(format, args...))
}

// store opens the containers below --root.
func (s *session) store(c *cli.Call) (store, error) {
	s.log.stderr = c.Err
	root, err := s.rootDir()
	if err != nil {
		return nil, err
	}
	s.log.debugf("containers are below %s", root)
	return s.open(root), nil
}

// rootDir is --root made absolute, or the user's default.
func (s *session) rootDir() (string, error) {
	if s.root == "" {
		if dir := s.getenv("XDG_RUNTIME_DIR"); dir != "" && !isHostRoot() {
			return dir + "/tare/runtime", nil
		}
		return "/run/tare/runtime", nil
	}
	root, err := filepath.Abs(s.root)
	if err != nil {
		return "", fmt.Errorf("--root %s: %w", s.root, err)
	}
	if root == "/" {
		return "", fmt.Errorf("--root %s: / cannot hold the state of containers", s.root)
	}
	return root, nil
}

// isHostRoot says whether we are root, and not just of a user namespace that
// somebody without privileges made.
func isHostRoot() bool {
	if os.Geteuid() != 0 {
		return false
	}
	// The first user namespace maps every id to itself (user_namespaces(7)).
	m, err := os.ReadFile("/proc/self/uid_map")
	return err != nil || strings.Join(strings.Fields(string(m)), " ") == "0 0 4294967295"
}

// load finds the container that the first argument names.
func (s *session) load(c *cli.Call) (handle, error) {
	st, err := s.store(c)
	if err != nil {
		return nil, err
	}
	if err := checkID(c.Args[0]); err != nil {
		return nil, err
	}
	return st.Load(c.Args[0])
}

// checkID holds a container's name to what runc accepts: a name of a directory
// that needs no quoting anywhere, of at most 1024 bytes.
func checkID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("container id is empty")
	case len(id) > 1024:
		return fmt.Errorf("container id of %d bytes: at most 1024 are allowed", len(id))
	case id == "." || id == "..":
		return fmt.Errorf("invalid container id %q", id)
	}
	for i := range len(id) {
		b := id[i]
		letter := 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
		if !letter && !strings.ContainsRune("_+.-", rune(b)) {
			return fmt.Errorf("invalid container id %q: only letters, digits and _ + . - are allowed", id)
		}
	}
	return nil
}

// systemd says whether systemd is to make the control groups.
func (s *session) systemd() (bool, error) {
	switch s.cgroupManager {
	case "":
		return s.systemdCgroup, nil
	case "cgroupfs":
		return false, nil
	case "systemd":
		return true, nil
	case "disabled":
		return false, fmt.Errorf("--cgroup-manager disabled: a container without control groups is not supported")
	}
	return false, fmt.Errorf("--cgroup-manager %s: want cgroupfs or systemd", s.cgroupManager)
}

func (s *session) rootlessMode() (container.Tristate, error) {
	switch strings.ToLower(s.rootless) {
	case "", "auto":
		return container.Auto, nil
	case "true", "t", "1":
		return container.Yes, nil
	case "false", "f", "0":
		return container.No, nil
	}
	return container.Auto, fmt.Errorf("--rootless %s: want true, false or auto", s.rootless)
}

// checkPreserved makes sure that the n descriptors from 3 on are open: a process
// would else find something else, or nothing, where its caller promised a file.
func checkPreserved(n int) error {
	for fd := 3; fd < 3+n; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return fmt.Errorf("--preserve-fds %d: descriptor %d: %w", n, fd, err)
		}
	}
	return nil
}

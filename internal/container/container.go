// Package container creates, starts, enters, stops and deletes containers as
// the OCI runtime specification says.
// What it keeps lies in one directory per container, in memory; a failed
// create leaves nothing: no directory, mount, control group or process.
// It restarts nothing and stays nowhere: no process of Tare runs beside a
// container, but where the kernel tells only a parent the exit status, and
// nobody else waits for it, a monitor without Go (see monitor.go).
package container

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cgroup"
	"tare.dev/tare/internal/program"
)

// Errors that callers act on.
var (
	ErrExist      = errors.New("container already exists")
	ErrNotExist   = errors.New("container does not exist")
	ErrNotRunning = errors.New("container is not running")
	ErrNotStopped = errors.New("container is not stopped")
	ErrPaused     = errors.New("container is paused")
)

// Store is the directory that all containers' directories lie in.
type Store struct {
	Root string

	// Replay is the command line that is being carried out, if what it does may
	// be stored for the next time (see replay.go); nil in a program that stays.
	Replay []string

	Warn func(format string, args ...any) // warnings that the specification asks for; may be nil
}

// Container is a container that was there when it was loaded. Its state is
// read anew at every call. Its methods may be called at the same time.
type Container struct {
	dir    string
	rec    record
	replay []string // see Store.Replay
	warn   func(format string, args ...any)

	mu   sync.Mutex
	warm *warm // nil before the first exec
	kept *kept // program of the last exec; may be nil
}

// record is state.json: what is known before the process exists and never
// changes.
type record struct {
	OCIVersion string            `json:"ociVersion"`
	ID         string            `json:"id"`
	Bundle     string            `json:"bundle"`
	Rootfs     string            `json:"rootfs"`
	UID        int               `json:"uid"` // who made it
	Cgroup     cgroup.Group      `json:"cgroup"`
	Systemd    bool              `json:"systemdCgroup,omitempty"`
	Namespaces []string          `json:"namespaces,omitempty"`
	Notes      map[string]string `json:"annotations,omitempty"`
	Late       *late             `json:"late,omitempty"`
	Plain      string            `json:"plain,omitempty"`  // see plainName
	Groups     []string          `json:"groups,omitempty"` // directories made for it, innermost first
	Ahead      []string          `json:"ahead,omitempty"`  // programs of its start and delete, stored for once
	Parent     bool              `json:"parent,omitempty"` // see CreateOptions
}

// late names the calls that the process makes after `start`, so that start can
// say which one failed.
type late struct {
	First int      `json:"first"` // index of the first one
	Ops   []string `json:"ops"`
}

// State is the answer of `state`, and more for tables.
type State struct {
	specs.State
	Rootfs           string            `json:"rootfs"`
	Created          time.Time         `json:"created"`
	Owner            string            `json:"owner"`
	ExitStatus       *int              `json:"exitStatus,omitempty"` // nil when not known
	Parent           bool              `json:"parent,omitempty"`     // the parent of who made it waits for it
	CgroupPaths      map[string]string `json:"-"`
	UseSystemdCgroup bool              `json:"-"`
	NamespacePaths   map[string]string `json:"-"`
}

// Files in a container's directory, beside those named in package program.
const (
	recordFile = "state.json"
	configFile = "config.json"
	pidfdFile  = "pidfd" // a bind mount of the process's pidfd: keeps its exit status
)

func (s Store) dir(id string) string { return filepath.Join(s.Root, id) }

// Load finds a container.
func (s Store) Load(id string) (*Container, error) {
	c := &Container{dir: s.dir(id), replay: s.Replay, warn: s.Warn}
	err := c.load()
	switch {
	case errors.Is(err, unix.ENOENT) && unix.Access(c.dir, unix.F_OK) == nil:
		c.rec.ID = id // in the making; or its maker was killed: then only a delete helps
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return nil, fmt.Errorf("container %q: %w", id, ErrNotExist)
	case err != nil:
		return nil, fmt.Errorf("load container %s: %w", id, err)
	}
	return c, nil
}

// load reads the container's record.
func (c *Container) load() error {
	b, err := os.ReadFile(filepath.Join(c.dir, recordFile))
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return unix.ENOENT // its maker was killed between open and write
	}
	var rec record
	if err := decode(b, &rec); err != nil {
		return fmt.Errorf("%s: %w", recordFile, err)
	}
	c.rec = rec
	return nil
}

// List returns all containers; bad is called with why one could not be read.
func (s Store) List(bad func(error)) (list []*Container, err error) {
	entries, err := os.ReadDir(s.Root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		c, err := s.Load(e.Name())
		if errors.Is(err, ErrNotExist) {
			continue // just gone
		}
		if err != nil {
			bad(err)
			continue
		}
		if c.rec.OCIVersion == "" {
			continue // in the making
		}
		list = append(list, c)
	}
	return list, nil
}

// ID returns the container's name.
func (c *Container) ID() string { return c.rec.ID }

// Spec returns the spec the container was created with.
func (c *Container) Spec() (*specs.Spec, error) {
	spec, _, err := readSpec(filepath.Join(c.dir, configFile))
	return spec, err
}

// process is the container's first process.
type process struct {
	pid   int
	start uint64 // in clock ticks since boot, from /proc/PID/stat
}

// process reads which process was the container's first. ErrNotExist: there
// has been none yet.
func (c *Container) process() (process, error) {
	b, err := os.ReadFile(filepath.Join(c.dir, program.ProcessFile))
	if err != nil || len(b) == 0 {
		return process{}, ErrNotExist
	}
	p, _, err := parseStat(string(b))
	return p, err
}

// alive tells whether the process is still there and no zombie.
func (p process) alive() bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/stat")
	if err != nil {
		return false
	}
	now, state, err := parseStat(string(b))
	return err == nil && now.start == p.start && state != 'Z' && state != 'X'
}

// parseStat reads pid, start time and state from a /proc/PID/stat line. See
// proc(5). A zombie that has threads which still run counts as running: only
// its first thread has ended.
func parseStat(line string) (process, byte, error) {
	bad := fmt.Errorf("process record %q: not a line of /proc/PID/stat", line)
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return process{}, 0, bad
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line[:open]))
	f := strings.Fields(line[end+1:])
	const startTime = 22 - 3 // fields count from 1, and the first two are before
	if err != nil || len(f) <= startTime || len(f[0]) != 1 {
		return process{}, 0, bad
	}
	start, err := strconv.ParseUint(f[startTime], 10, 64)
	if err != nil {
		return process{}, 0, bad
	}
	state := f[0][0]
	const threads = 20 - 3
	if n, err := strconv.Atoi(f[threads]); state == 'Z' && err == nil && n > 1 {
		state = 'R'
	}
	return process{pid, start}, state, nil
}

// status is the container's state as the specification names it.
func (c *Container) status() (specs.ContainerState, process) {
	p, err := c.process()
	switch {
	case err != nil:
		return specs.StateCreating, p
	case !p.alive():
		return specs.StateStopped, p
	case unix.Access(filepath.Join(c.dir, program.ExecFifo), unix.F_OK) == nil:
		return specs.StateCreated, p
	}
	if frozen, err := c.rec.Cgroup.Frozen(); err == nil && frozen {
		return StatePaused, p
	}
	return specs.StateRunning, p
}

// StatePaused is the status of a frozen container; the specification leaves
// room for further states.
const StatePaused specs.ContainerState = "paused"

// State tells what the container is doing.
func (c *Container) State() (State, error) {
	status, p := c.status()
	s := State{
		State: specs.State{
			Version: c.rec.OCIVersion, ID: c.rec.ID, Status: status, Bundle: c.rec.Bundle, Annotations: c.rec.Notes,
		},
		Rootfs: c.rec.Rootfs, Owner: userName(c.rec.UID), Parent: c.rec.Parent, CgroupPaths: c.rec.Cgroup.Paths, UseSystemdCgroup: c.rec.Systemd,
	}
	if info, err := os.Stat(filepath.Join(c.dir, program.ProcessFile)); err == nil {
		s.Created = info.ModTime().UTC()
	}
	if status == specs.StateStopped {
		s.ExitStatus = c.exitStatus()
		return s, nil
	}
	s.Pid = p.pid
	if p.pid > 0 {
		s.NamespacePaths = map[string]string{}
		for _, n := range c.rec.Namespaces {
			s.NamespacePaths[n] = fmt.Sprintf("/proc/%d/ns/%s", p.pid, nsFile(specs.LinuxNamespaceType(n)))
		}
	}
	return s, nil
}

func userName(uid int) string {
	if uid == 0 {
		return "root"
	}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

// nsFile is a namespace's name in /proc/PID/ns.
func nsFile(t specs.LinuxNamespaceType) string {
	switch t {
	case specs.MountNamespace:
		return "mnt"
	case specs.NetworkNamespace:
		return "net"
	}
	return string(t)
}

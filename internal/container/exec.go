package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/host"
	"tare.dev/tare/internal/program"
	"tare.dev/tare/internal/seccomp"
)

// ExecOptions is how a further process is started in a running container.
type ExecOptions struct {
	Process       *specs.Process // complete: what the container's spec gives is merged in
	PidFile       string
	ConsoleSocket string
	PidfdSocket   string
	PreserveFDs   int
	Stdio         [3]*os.File
	Console       func(master *os.File) error
	Before        func() // called when all is prepared and the process is yet to be made; may be nil
	IgnorePaused  bool
	SubCgroup     string // below the container's group
	Detach        bool   // the caller will not wait for the process
	Parent        bool   // see CreateOptions
	From          string // file that Process was read from; "": it is all in the command line
	Warn          func(format string, args ...any)
}

// Exec starts a process in the container. It is a child of the caller; with
// o.Parent, of the caller's parent.
func (c *Container) Exec(o ExecOptions) (*Process, error) {
	p, err := c.exec(o)
	if err != nil {
		return nil, fmt.Errorf("exec in %s: %w", c.rec.ID, err)
	}
	return p, nil
}

// flagOf gives each namespace file in /proc/PID/ns its clone flag.
var flagOf = [...]struct {
	name string
	flag uintptr
}{
	{"user", unix.CLONE_NEWUSER},
	{"pid", unix.CLONE_NEWPID},
	{"ipc", unix.CLONE_NEWIPC},
	{"uts", unix.CLONE_NEWUTS},
	{"net", unix.CLONE_NEWNET},
	{"cgroup", unix.CLONE_NEWCGROUP},
	{"time", unix.CLONE_NEWTIME},
	{"mnt", unix.CLONE_NEWNS},
}

// warm is what an exec needs of the container and of us that does not change,
// for a program that stays and makes many.
type warm struct {
	init   process
	facts  host.Facts
	linux  *specs.Linux // of the spec, as far as an exec needs it
	filter *seccomp.Filter
	traces bool    // processes in the container could trace others
	joins  uintptr // clone flags of its namespaces that are not ours
}

// warmUp gathers it once.
func (c *Container) warmUp() (*warm, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.warm != nil {
		return c.warm, nil
	}
	init, err := c.process()
	if err != nil {
		return nil, ErrNotRunning
	}
	spec, err := c.Spec()
	if err != nil {
		return nil, err
	}
	w := &warm{init: init, facts: host.Probe()}
	if l := spec.Linux; l != nil {
		w.linux = &specs.Linux{UIDMappings: l.UIDMappings, GIDMappings: l.GIDMappings, Personality: l.Personality, MemoryPolicy: l.MemoryPolicy}
		if l.Seccomp != nil {
			if w.filter, err = seccomp.Compile(l.Seccomp, goarch); err != nil {
				return nil, err
			}
		}
	}
	if p := spec.Process; p != nil && p.Capabilities != nil {
		w.traces = has(p.Capabilities.Bounding, "CAP_SYS_PTRACE")
	}
	if w.joins, err = namespacesOf(init); err != nil {
		return nil, err
	}
	c.warm = w
	return w, nil
}

// namespacesOf finds the namespaces of a process that are not ours.
func namespacesOf(p process) (flags uintptr, err error) {
	for _, n := range flagOf {
		theirs, err := os.Readlink("/proc/" + strconv.Itoa(p.pid) + "/ns/" + n.name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("look at namespaces: %w", err)
		}
		if ours, err := os.Readlink("/proc/self/ns/" + n.name); err != nil || ours != theirs {
			flags |= n.flag
		}
	}
	if !p.alive() { // it was another process's number
		return 0, ErrNotRunning
	}
	return flags, nil
}

// pidfd opens a pidfd of the container's first process, while that runs; -1 on
// Linux < 5.3.
func (c *Container) pidfd(p process, pipes *pipes) (int, error) {
	if fd, err := unix.Open(filepath.Join(c.dir, pidfdFile), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		pipes.add(fd)
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, 0); err == nil && n == 0 {
			return fd, nil
		}
		// It has ended; or this mount namespace is not the one in which a pidfd
		// is mounted there, and the file is just a file.
	}
	fd, err := unix.PidfdOpen(p.pid, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return -1, ErrNotRunning
	case errors.Is(err, unix.ENOSYS):
		fd = -1
	case err != nil:
		return -1, fmt.Errorf("open pidfd: %w", err)
	default:
		pipes.add(fd)
	}
	if !p.alive() { // the number could by now be another process's
		return -1, ErrNotRunning
	}
	return fd, nil
}

func (c *Container) exec(o ExecOptions) (*Process, error) {
	w, err := c.warmUp()
	if err != nil {
		return nil, err
	}
	if p := c.execAgain(&o, w); p != nil {
		return p, nil
	}
	k := creation{c: c, spec: &specs.Spec{Process: o.Process, Linux: w.linux}, caller: w.facts, pidfd: -1}
	defer k.pipes.closeAll()
	init, err := c.pidfd(w.init, &k.pipes)
	if err != nil {
		return nil, err
	}
	if !o.IgnorePaused {
		if frozen, err := c.rec.Cgroup.Frozen(); err == nil && frozen {
			return nil, ErrPaused
		}
	}
	k.o = CreateOptions{ConsoleSocket: o.ConsoleSocket, Console: o.Console, Before: o.Before, Stdio: o.Stdio, PreserveFDs: o.PreserveFDs, Parent: o.Parent, Warn: o.Warn}
	if o.Warn == nil {
		k.o.Warn = func(string, ...any) {}
	}
	in, err := k.execInput(o, w, init)
	if err != nil {
		return nil, err
	}
	k.becomeExec(o, in)
	if err := k.launchExec(&o, in); err != nil {
		k.abort()
		// A process that is ending has no root any more before it is dead.
		if _, gone := os.Readlink(rootOf(w.init)); errors.Is(gone, os.ErrNotExist) {
			return nil, ErrNotRunning
		}
		return nil, err
	}
	p := &Process{Pid: k.pid, pidfd: k.pidfd}
	_ = k.storeExec(o, in) // or Go does it again next time
	if o.PidfdSocket != "" {
		if err := sendPidfd(o.PidfdSocket, p.Pid); err != nil {
			k.abort()
			return nil, err
		}
	}
	if o.PidFile != "" {
		if err := writePidFile(o.PidFile, p.Pid); err != nil {
			k.abort()
			return nil, err
		}
	}
	return p, nil
}

// rootOf is a path to the root that process p has.
func rootOf(p process) string { return "/proc/" + strconv.Itoa(p.pid) + "/root" }

// execInput gathers what the program of an exec depends on.
func (k *creation) execInput(o ExecOptions, w *warm, init int) (*program.ExecInput, error) {
	root := rootOf(w.init)
	in := &program.ExecInput{
		ID: k.c.rec.ID, Root: root, Process: o.Process, Linux: w.linux, Facts: k.caller, Seccomp: w.filter, InitFD: init,
		PreserveFDs: o.PreserveFDs, Parent: o.Parent, GateFD: -1, GateParentFD: -1, ListenerFD: -1,
	}
	passwd := filepath.Join(k.c.rec.Rootfs, passwdFile) // the same, by a name that lasts
	k.watch(filepath.Join(k.c.dir, recordFile))
	k.watch(passwd)
	if addHome(o.Process, root) != "" {
		k.homeFrom = passwd
	}
	in.Namespaces, in.User = w.joins, w.joins&unix.CLONE_NEWUSER != 0
	err := k.openNamespaces(w, in)
	if err != nil {
		return nil, err
	}
	if len(k.c.rec.Cgroup.Paths) > 0 {
		if in.Join, err = k.c.rec.Cgroup.Join(o.SubCgroup, w.init.pid); err != nil {
			return nil, err
		}
	}
	if !k.caller.CloseRange {
		if in.Inherited, err = inherited(o.PreserveFDs); err != nil {
			return nil, err
		}
	}
	in.Stdio, in.ChownStdio = stdio(o.Stdio)
	k.in.ConsoleFD = -1
	if err := k.openConsole(); err != nil {
		return nil, err
	}
	in.ConsoleFD = k.in.ConsoleFD
	if o.ConsoleSocket != "" && !o.Process.Terminal {
		return nil, errors.New("a console socket is for a process with a terminal, and process.terminal is false")
	}
	if o.Process.Terminal && in.ConsoleFD < 0 {
		return nil, errors.New("process.terminal: no console socket to send the terminal to")
	}
	if f := in.Seccomp; f != nil && f.Notify {
		if in.ListenerFD, err = k.pipes.connect("seccomp listener", f.ListenerPath); err != nil {
			return nil, err
		}
	}
	in.DenySetgroups = in.User && k.denySetgroups()
	// One inside who may trace must not find our memory in the process.
	in.Fork = in.ListenerFD >= 0 || in.Namespaces&unix.CLONE_NEWTIME != 0 || o.Process.Terminal || w.traces && !in.User
	if in.Fork {
		in.GateParentFD, in.GateFD, err = k.pipes.pair(unix.SOCK_SEQPACKET)
	}
	k.in.Fork, k.in.GateFD, k.in.GateParentFD, k.in.Facts, k.in.Seccomp = in.Fork, in.GateFD, in.GateParentFD, k.caller, in.Seccomp
	return in, err
}

// openNamespaces opens what setns(2) needs where it takes no pidfd.
func (k *creation) openNamespaces(w *warm, in *program.ExecInput) error {
	if k.caller.PidfdSetns {
		return nil
	}
	in.NamespaceFDs = map[uintptr]int{}
	for _, n := range flagOf {
		if in.Namespaces&n.flag == 0 {
			continue
		}
		fd, err := unix.Open("/proc/"+strconv.Itoa(w.init.pid)+"/ns/"+n.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s namespace: %w", n.name, err)
		}
		in.NamespaceFDs[n.flag] = k.pipes.add(fd)
	}
	if !w.init.alive() { // the number could by now be another process's
		return ErrNotRunning
	}
	return nil
}

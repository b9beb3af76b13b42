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
	From          string // file that Process was read from; "": it is all in the command line
	Warn          func(format string, args ...any)
}

// Exec starts a process in the container. It is a child of the caller.
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

func (c *Container) exec(o ExecOptions) (*Process, error) {
	status, init := c.status()
	switch {
	case status == specs.StateStopped || status == specs.StateCreating:
		return nil, ErrNotRunning
	case status == StatePaused && !o.IgnorePaused:
		return nil, ErrPaused
	}
	spec, err := c.Spec()
	if err != nil {
		return nil, err
	}
	k := creation{c: c, spec: &specs.Spec{Process: o.Process}, caller: host.Probe(), pidfd: -1}
	k.o = CreateOptions{ConsoleSocket: o.ConsoleSocket, Console: o.Console, Before: o.Before, Stdio: o.Stdio, PreserveFDs: o.PreserveFDs, Warn: o.Warn}
	if o.Warn == nil {
		k.o.Warn = func(string, ...any) {}
	}
	defer k.pipes.closeAll()
	in, err := k.execInput(o, spec, init)
	if err != nil {
		return nil, err
	}
	if k.prog, err = program.CompileExec(in); err != nil {
		return nil, err
	}
	for _, w := range k.prog.Warnings {
		k.o.Warn("%s", w)
	}
	if !init.alive() { // the number could by now be another process's
		return nil, ErrNotRunning
	}
	if err := k.launch(); err != nil {
		k.abort()
		return nil, err
	}
	p := &Process{Pid: k.pid, pidfd: k.pidfd}
	if o.PidFile == "" && o.PidfdSocket == "" && o.SubCgroup == "" && !o.Detach && o.From == "" && !k.warned {
		_ = c.storeExec(in, k.homeFrom) // or Go does it again next time
	}
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

// execInput gathers what the program of an exec depends on.
func (k *creation) execInput(o ExecOptions, spec *specs.Spec, init process) (*program.ExecInput, error) {
	in := &program.ExecInput{
		ID: k.c.rec.ID, Root: "/proc/" + strconv.Itoa(init.pid) + "/root",
		Process: o.Process, Linux: spec.Linux, Facts: k.caller, InitFD: -1, NamespaceFDs: map[uintptr]int{},
		PreserveFDs: o.PreserveFDs, GateFD: -1, GateParentFD: -1, ListenerFD: -1,
	}
	if addHome(o.Process, "/proc/"+strconv.Itoa(init.pid)+"/root") != "" {
		k.homeFrom = filepath.Join(k.c.rec.Rootfs, "etc/passwd") // the same, by a name that lasts
	}
	if err := k.namespacesOf(init, in); err != nil {
		return nil, err
	}
	if spec.Linux != nil {
		if s := spec.Linux.Seccomp; s != nil {
			f, err := seccomp.Compile(s, goarch)
			if err != nil {
				return nil, err
			}
			in.Seccomp = f
		}
		k.spec.Linux = &specs.Linux{UIDMappings: spec.Linux.UIDMappings, GIDMappings: spec.Linux.GIDMappings}
	}
	var err error
	if len(k.c.rec.Cgroup.Paths) > 0 {
		if in.Join, err = k.c.rec.Cgroup.Join(o.SubCgroup, init.pid); err != nil {
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
	in.Fork = in.ListenerFD >= 0 || in.Namespaces&unix.CLONE_NEWTIME != 0 || o.Process.Terminal
	if in.Fork {
		in.GateParentFD, in.GateFD, err = k.pipes.pair(unix.SOCK_SEQPACKET)
	}
	k.in.Fork, k.in.GateFD, k.in.GateParentFD, k.in.Facts, k.in.Seccomp = in.Fork, in.GateFD, in.GateParentFD, k.caller, in.Seccomp
	return in, err
}

// namespacesOf finds the namespaces of the container's process that are not
// the caller's, and opens what setns(2) needs.
func (k *creation) namespacesOf(init process, in *program.ExecInput) error {
	dir := "/proc/" + strconv.Itoa(init.pid) + "/ns/"
	for _, n := range flagOf {
		theirs, err := os.Readlink(dir + n.name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at namespaces: %w", err)
		}
		if ours, err := os.Readlink("/proc/self/ns/" + n.name); err != nil || ours != theirs {
			in.Namespaces |= n.flag
		}
	}
	in.User = in.Namespaces&unix.CLONE_NEWUSER != 0
	if k.caller.PidfdSetns {
		fd, err := unix.PidfdOpen(init.pid, 0)
		if err != nil {
			return fmt.Errorf("open pidfd: %w", err)
		}
		in.InitFD = k.pipes.add(fd)
		return nil
	}
	for _, n := range flagOf {
		if in.Namespaces&n.flag == 0 {
			continue
		}
		fd, err := unix.Open(dir+n.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s namespace: %w", n.name, err)
		}
		in.NamespaceFDs[n.flag] = k.pipes.add(fd)
	}
	return nil
}

package runtimecli

import (
	"errors"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/container"
)

const execLong = `Run one more process in a running container. The exit status is that of the process:
what it exited with, or 128 and the number of the signal that killed it. When the
process cannot be started, it is 255, as runc's is.`

// execFailed is the exit status of exec when there is no process to take it from.
const execFailed = 255

func execCommand(s *session) cli.Command {
	var e execution
	return cli.Command{
		Name: "exec", Args: "ID COMMAND [ARG...]", MinArgs: 1, MaxArgs: cli.Many, StopAtArg: true,
		Short: "run one more process in a container",
		Long:  execLong,
		Flags: e.flags,
		Run: func(c *cli.Call) error {
			err := e.run(s, c)
			var exit *cli.Exit
			if err == nil || errors.As(err, &exit) {
				return err
			}
			return &cli.Exit{Status: execFailed, Err: err}
		},
	}
}

// execution holds the flags of exec.
type execution struct {
	processFlags
	processFile   string
	consoleSocket string
	pidFile       string
	pidfdSocket   string
	preserveFDs   int
	detach        bool
	ignorePaused  bool
	cgroup        string
}

func (e *execution) flags(f *cli.Flags) {
	e.processFlags.flags(f)
	f.String(&e.processFile, "process", "p", "JSON `FILE` with the whole process, in place of COMMAND and the flags about it")
	f.String(&e.consoleSocket, "console-socket", "", "`SOCKET` (AF_UNIX) that is sent the master of the process's terminal")
	f.String(&e.pidFile, "pid-file", "", "`FILE` that the process id is written to")
	f.String(&e.pidfdSocket, "pidfd-socket", "", "`SOCKET` (AF_UNIX) that is sent a pidfd of the process")
	f.Int(&e.preserveFDs, "preserve-fds", "", "pass on this `NUMBER` of descriptors, from 3 on")
	f.Bool(&e.detach, "detach", "d", "do not wait for the end")
	f.Bool(&e.ignorePaused, "ignore-paused", "", "do it although the container is paused; the process starts when it is resumed")
	f.Func(e.setCgroup, "cgroup", "", "existing control group below the container's to run in: `[CONTROLLER:]PATH`")
}

func (e *execution) setCgroup(v string) error {
	if e.cgroup != "" {
		return fmt.Errorf("given twice")
	}
	e.cgroup = v
	return nil
}

func (e *execution) run(s *session, c *cli.Call) error {
	if err := s.protect(); err != nil {
		return err
	}
	h, err := s.load(c)
	if err != nil {
		return err
	}
	p, err := e.process(c, h)
	if err != nil {
		return err
	}
	if err := e.checkConsole(p); err != nil {
		return err
	}
	if e.preserveFDs < 0 {
		return fmt.Errorf("--preserve-fds %d: want 0 or more", e.preserveFDs)
	}
	if err := checkPreserved(e.preserveFDs); err != nil {
		return err
	}
	pidFile, err := absolute(e.pidFile)
	if err != nil {
		return fmt.Errorf("--pid-file %s: %w", e.pidFile, err)
	}
	o := container.ExecOptions{
		Process:       p,
		PidFile:       pidFile,
		ConsoleSocket: e.consoleSocket,
		PidfdSocket:   e.pidfdSocket,
		PreserveFDs:   e.preserveFDs,
		Stdio:         streams(),
		IgnorePaused:  e.ignorePaused,
		SubCgroup:     e.cgroup,
		Detach:        e.detach,
		From:          e.processFile,
		Warn:          s.warn,
	}
	if e.detach {
		_, err := h.Exec(o)
		return err
	}
	status, err := s.foreground(c, func(console consoleFunc, before func()) (process, error) {
		o.Console, o.Before = console, before
		return h.Exec(o)
	})
	if err != nil {
		return err
	}
	return exitWith(status)
}

// process is what is to run: the file's, or the container's own changed by the flags.
func (e *execution) process(c *cli.Call, h handle) (*specs.Process, error) {
	if e.processFile != "" {
		if len(c.Args) > 1 {
			return nil, c.Usagef("--process and a command exclude each other")
		}
		p, err := readProcess(e.processFile)
		if err != nil {
			return nil, err
		}
		p.Terminal = p.Terminal || e.tty
		return p, checkProcess(p)
	}
	if len(c.Args) < 2 {
		return nil, c.Usagef("missing argument: want ID COMMAND [ARG...]")
	}
	spec, err := h.Spec()
	if err != nil {
		return nil, err
	}
	p, err := e.merge(spec.Process, c.Args[1:], c.Given)
	if err != nil {
		return nil, err
	}
	return p, checkProcess(p)
}

func (e *execution) checkConsole(p *specs.Process) error {
	switch {
	case e.consoleSocket != "" && !e.detach:
		return errConsoleSocket
	case e.consoleSocket != "" && !p.Terminal:
		return errors.New("--console-socket needs a process with a terminal")
	case e.consoleSocket == "" && e.detach && p.Terminal:
		return errNoConsoleSocket
	}
	return nil
}

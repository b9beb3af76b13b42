package runtimecli

import (
	"errors"
	"os"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/container"
)

const runLong = `Create a container, start it and wait for its end. The exit status is that of its
process: what it exited with, or 128 and the number of the signal that killed it.
When the container cannot be started, it is 1, as runc's is.`

func runCommand(s *session) cli.Command {
	var r runner
	return cli.Command{
		Name: "run", Args: "ID", MinArgs: 1, MaxArgs: 1,
		Short: "create and start a container and wait for its end",
		Long:  runLong,
		Flags: r.flags,
		Run: func(c *cli.Call) error {
			st, err := s.store(c)
			if err != nil {
				return err
			}
			return r.run(s, st, c)
		},
	}
}

type runner struct {
	launch
	detach bool
	keep   bool
}

func (r *runner) flags(f *cli.Flags) {
	r.launch.flags(f)
	f.Bool(&r.detach, "detach", "d", "do not wait for the end")
	f.Bool(&r.keep, "keep", "", "do not delete the container after its end")
}

func (r *runner) run(s *session, st store, c *cli.Call) error {
	id := c.Args[0]
	if err := checkID(id); err != nil {
		return err
	}
	if r.consoleSocket != "" && !r.detach {
		return errConsoleSocket
	}
	o, err := r.options(s)
	if err != nil {
		return err
	}
	o.Keep, o.Detach = r.keep, r.detach
	if err := s.makeRoot(); err != nil {
		return err
	}
	notify, err := s.inherit(id, &o)
	if err == nil && notify != nil {
		err = notify.listen()
	}
	if err == nil {
		err = r.start(s, st, c, o, notify)
	}
	if notify != nil && (err != nil || !r.detach) && !r.keep {
		if rerr := notify.remove(); rerr != nil {
			s.log.error(rerr) // err may be the program's exit status, which stays
		}
	}
	return err
}

// start runs the container and, unless it is to be left alone, stays until its end.
func (r *runner) start(s *session, st store, c *cli.Call, o container.CreateOptions, notify *notifier) error {
	id := c.Args[0]
	if r.detach {
		h, _, err := st.Run(id, o)
		if err != nil || notify == nil {
			return err
		}
		defer notify.close()
		pid, err := firstPid(h)
		if err != nil || pid == 0 {
			return err
		}
		return notify.forward(pid, pid)
	}
	var h handle
	status, err := s.foreground(c, func(console consoleFunc, before func()) (process, error) {
		o.Console, o.Before = console, before
		var p process
		var err error
		if h, p, err = st.Run(id, o); err != nil {
			return nil, err
		}
		return p, s.tellWhenReady(h, notify)
	})
	if h != nil && !r.keep {
		// By force, for without a pid namespace others may have outlived the first process.
		if derr := h.Delete(true); derr != nil && !errors.Is(derr, container.ErrNotExist) {
			// A failed clean-up must not pass for the program's own exit status,
			// nor hide it: it is reported, the status stays.
			s.log.error(derr)
		}
	}
	if status := container.CommandStatus(err); s.Inner && status != 0 {
		return &cli.Exit{Status: status, Err: err}
	}
	if err != nil {
		return err
	}
	return exitWith(status)
}

// tellWhenReady passes readiness on in the background. What systemd watches is
// ourselves, for we stay as long as the container does.
func (s *session) tellWhenReady(h handle, notify *notifier) error {
	if notify == nil {
		return nil
	}
	pid, err := firstPid(h)
	if err != nil || pid == 0 {
		return err
	}
	go func() {
		if err := notify.forward(pid, os.Getpid()); err != nil {
			s.log.warn(err.Error())
		}
	}()
	return nil
}

// firstPid is the container's first process, 0 when it has ended.
func firstPid(h handle) (int, error) {
	st, err := h.State()
	return st.Pid, err
}

// exitWith makes the process's status ours.
func exitWith(status int) error {
	if status == 0 {
		return nil
	}
	return &cli.Exit{Status: status}
}

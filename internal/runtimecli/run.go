package runtimecli

import (
	"errors"

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
	o.Keep = r.keep
	if err := s.makeRoot(); err != nil {
		return err
	}
	if r.detach {
		o.Detach = true
		_, _, err := st.Run(id, o)
		return err
	}
	var h handle
	status, err := s.foreground(c, func(console consoleFunc) (process, error) {
		o.Console = console
		var p process
		var err error
		h, p, err = st.Run(id, o)
		return p, err
	})
	if h != nil && !r.keep {
		// By force, for without a pid namespace others may have outlived the first process.
		if derr := h.Delete(true); derr != nil && !errors.Is(derr, container.ErrNotExist) {
			// A failed clean-up must not pass for the program's own exit status,
			// nor hide it: it is reported, the status stays.
			s.log.error(derr)
		}
	}
	if err != nil {
		return err
	}
	return exitWith(status)
}

// exitWith makes the process's status ours.
func exitWith(status int) error {
	if status == 0 {
		return nil
	}
	return &cli.Exit{Status: status}
}

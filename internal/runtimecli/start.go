package runtimecli

import "tare.dev/tare/internal/cli"

func startCommand(s *session) cli.Command {
	return cli.Command{
		Name: "start", Args: "ID", MinArgs: 1, MaxArgs: 1,
		Short: "execute the program of a created container",
		Run:   s.on(s.start),
	}
}

// start waits, where systemd does, until the container says that it is ready.
func (s *session) start(h handle) error {
	notify, err := s.newNotifier(h.ID())
	if err != nil {
		return err
	}
	if notify == nil {
		return h.Start()
	}
	if err := notify.listen(); err != nil {
		return err
	}
	defer notify.close()
	if err := h.Start(); err != nil {
		return err
	}
	st, err := h.State()
	if err != nil || st.Pid == 0 { // ended before we could look
		return err
	}
	return notify.forward(st.Pid, st.Pid)
}

// on is a verb that does one thing to the container its argument names.
func (s *session) on(do func(handle) error) func(*cli.Call) error {
	return func(c *cli.Call) error {
		h, err := s.load(c)
		if err != nil {
			return err
		}
		return do(h)
	}
}

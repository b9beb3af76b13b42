package runtimecli

import "tare.dev/tare/internal/cli"

func startCommand(s *session) cli.Command {
	return cli.Command{
		Name: "start", Args: "ID", MinArgs: 1, MaxArgs: 1,
		Short: "execute the program of a created container",
		Run:   s.on(handle.Start),
	}
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

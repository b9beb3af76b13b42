package runtimecli

import (
	"errors"

	"tare.dev/tare/internal/cli"
)

func createCommand(s *session) cli.Command {
	var l launch
	return cli.Command{
		Name: "create", Args: "ID", MinArgs: 1, MaxArgs: 1,
		Short: "create a container: everything but its program",
		Flags: l.flags,
		Run: func(c *cli.Call) error {
			st, err := s.store(c)
			if err != nil {
				return err
			}
			if err := checkID(c.Args[0]); err != nil {
				return err
			}
			o, err := l.options(s)
			if err != nil {
				return err
			}
			if err := s.makeRoot(); err != nil {
				return err
			}
			notify, err := s.inherit(c.Args[0], &o)
			if err == nil {
				_, err = st.Create(c.Args[0], o)
			}
			if err != nil && notify != nil {
				err = errors.Join(err, notify.remove())
			}
			return err
		},
	}
}

package runtimecli

import (
	"io"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/container"
)

func explainCommand(s *session) cli.Command {
	var l launch
	return cli.Command{
		Name:  "explain",
		Short: "print the system calls that would start a bundle, and change nothing",
		Flags: l.flags,
		Run: func(c *cli.Call) error {
			s.log.stderr = c.Err
			s.protect = func() error { return nil } // nothing is executed
			o, err := l.options(s)
			if err != nil {
				return err
			}
			text, err := container.Explain(o.Bundle, o)
			if err != nil {
				return err
			}
			_, err = io.WriteString(c.Out, text)
			return err
		},
	}
}

package runtimecli

import "tare.dev/tare/internal/cli"

func pauseCommand(s *session) cli.Command {
	return cli.Command{
		Name: "pause", Args: "ID", MinArgs: 1, MaxArgs: 1,
		Short: "freeze all processes of a container",
		Run:   s.on(handle.Pause),
	}
}

func resumeCommand(s *session) cli.Command {
	return cli.Command{
		Name: "resume", Args: "ID", MinArgs: 1, MaxArgs: 1,
		Short: "let a paused container go on",
		Run:   s.on(handle.Resume),
	}
}

package runtimecli

import (
	"fmt"

	"tare.dev/tare/internal/cli"
)

// checkpointCommand refuses checkpoint and restore, with whatever arguments, in
// words that say it is for good and not a mistake in the call.
func checkpointCommand(name string) cli.Command {
	return cli.Command{
		Name: name, Args: "ID", MaxArgs: cli.Many, Hidden: true, StopAtArg: true,
		Run: func(c *cli.Call) error {
			return fmt.Errorf("%s: this runtime cannot save and restore processes (it does not use CRIU)", name)
		},
	}
}

// Command tarekit is the program on the workstation: it makes what devices run.
package main

import (
	"os"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/compose"
	"tare.dev/tare/internal/imagecli"
)

func main() {
	std := cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	root := command()
	os.Exit(cli.Main(&root, std, os.Args[1:]))
}

// command is the table of contents of the program.
func command() cli.Command {
	return cli.Command{
		Name:  "tarekit",
		Short: "build, pack and release what devices run",
		Sub:   append(imagecli.KitCommands(), compose.Command()),
	}
}

// The Go runtime would keep files of its control group open, to follow the number
// of CPUs it may use. We live too short for that, and descriptor 3 has to be what
// our caller gave us or nothing (--preserve-fds).
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command tare is the program on the device: one file that is all of Tare there.
//
// Called by a link named runc, crun or tare-runtime it is the OCI runtime alone,
// for programs that expect one.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/enginecli"
	"tare.dev/tare/internal/imagecli"
	"tare.dev/tare/internal/runtimecli"
)

const version = "0.1.0-dev"

func main() {
	// A start allocates less than it would cost to collect. The limit is for the
	// rare command that goes on (events, a terminal in the foreground).
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(32 << 20)
	restoreFileLimit()
	os.Exit(run(filepath.Base(os.Args[0]), os.Args[1:]))
}

// restoreFileLimit takes back what package os did when it was set up: it raised
// the soft limit of open files, which our children would inherit. Only the
// standard library knows the old limit, and sets it again before an exec; this
// one is for a program without a name and fails.
func restoreFileLimit() { _ = syscall.Exec("", nil, nil) }

func run(name string, args []string) int {
	if name == "docker-init" {
		return enginecli.Init(args)
	}
	std := cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	root := command(name)
	return cli.Main(&root, std, args)
}

// command is the table of contents of the program.
func command(name string) cli.Command {
	o := runtimecli.Options{Name: "tare", Version: version, Commit: commit}
	switch name {
	case "runc", "crun", "tare-runtime":
		o.Name, o.LikeRunc = name, true
		alone := runtimecli.Command(o)
		alone.Name = name
		return alone
	}
	flags, dirs, images := imagecli.Commands(imagecli.Options{
		Version: version,
		Runtime: func(std cli.IO, args []string) int {
			inner := o
			inner.Inner = true
			runtime := runtimecli.Command(inner)
			return cli.Main(&runtime, std, args)
		},
	})
	return cli.Command{
		Name:  "tare",
		Short: "run containers on embedded Linux",
		Flags: flags,
		Sub: append(enginecli.Commands(enginecli.Options{Dirs: dirs, Local: images}),
			enginecli.Daemon(enginecli.DaemonOptions{Version: version, Commit: commit(), Dirs: dirs}),
			runtimecli.Command(o),
			cli.Completion("tare"),
			cli.Command{Name: "version", Short: "print the version", Run: printVersion},
		),
	}
}

func printVersion(c *cli.Call) error {
	fmt.Fprintln(c.Out, "tare version", version)
	if id := commit(); id != "" {
		fmt.Fprintln(c.Out, "commit:", id)
	}
	fmt.Fprintln(c.Out, "go:", runtime.Version(), runtime.GOARCH)
	return nil
}

// commit is what the go command found in the repository when it built us.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	id, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			id = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	return id + dirty
}

package enginecli

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/moby/moby/api/types/system"

	"tare.dev/tare/internal/cli"
)

func infoCommand(s *session) cli.Command {
	var asJSON bool
	return cli.Command{
		Name: "info", Short: "tell about the engine and its machine",
		Flags: func(f *cli.Flags) { f.Bool(&asJSON, "json", "", "print JSON") },
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			if asJSON {
				var raw json.RawMessage
				if err := s.client().get(ctx, "/info", nil, &raw); err != nil {
					return err
				}
				return printIndented(c.Out, raw)
			}
			var i system.Info
			if err := s.client().get(ctx, "/info", nil, &i); err != nil {
				return err
			}
			w := table(c.Out)
			for _, l := range [][2]string{
				{"engine", "tare " + i.ServerVersion + " on " + s.socket()},
				{"containers", fmt.Sprintf("%d running, %d paused, %d stopped", i.ContainersRunning, i.ContainersPaused, i.ContainersStopped)},
				{"images", fmt.Sprint(i.Images)},
				{"directory", i.DockerRootDir},
				{"machine", fmt.Sprintf("%s, %d CPUs, %s of memory", i.Architecture, i.NCPU, size(uint64(max(i.MemTotal, 0))))},
				{"system", i.OperatingSystem},
				{"kernel", i.KernelVersion},
				{"control groups", "v" + i.CgroupVersion + ", " + i.CgroupDriver},
			} {
				fmt.Fprintf(w, "%s\t%s\n", l[0], l[1])
			}
			if err := w.Flush(); err != nil {
				return err
			}
			for _, text := range i.Warnings {
				fmt.Fprintln(c.Err, "warning:", text)
			}
			return nil
		},
	}
}

const whyLong = `Tell why a container is in the state it is in: what happened to it, and by which rule, the last first.`

// A reason is a line of the answer to why.
type reason struct {
	Time string `json:"time"`
	What string `json:"what"`
	Why  string `json:"why"`
}

func whyCommand(s *session) cli.Command {
	var asJSON bool
	return cli.Command{
		Name: "why", Args: "CONTAINER", MinArgs: 1, MaxArgs: 1, Short: "tell why a container is in its state", Long: whyLong,
		Flags: func(f *cli.Flags) { f.Bool(&asJSON, "json", "", "print JSON") },
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			var raw json.RawMessage
			if err := s.client().do(ctx, http.MethodGet, "/tare/why/"+c.Args[0], nil, nil, &raw); err != nil {
				return err
			}
			var all []reason
			if asJSON || json.Unmarshal(raw, &all) != nil {
				return printIndented(c.Out, raw)
			}
			for _, r := range all {
				fmt.Fprintf(c.Out, "%s  %s\n", r.Time, harmless(r.What, 0))
				if r.Why != "" {
					fmt.Fprintf(c.Out, "    %s\n", harmless(r.Why, 0))
				}
			}
			return nil
		},
	}
}

package enginecli

import (
	"encoding/json"
	"fmt"

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

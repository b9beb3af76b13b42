package enginecli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/moby/moby/api/types/volume"

	"tare.dev/tare/internal/cli"
)

// volumeCommand is the local verbs about volumes, but for those where the engine must be asked: it knows
// of containers that do not run, and whose volumes must stay.
func volumeCommand(s *session) cli.Command {
	cmd := cli.Command{Name: "volume", Short: "make, list and remove volumes"}
	if local := s.local("volume"); local != nil {
		cmd = *local
	}
	cmd.Sub = slices.DeleteFunc(slices.Clone(cmd.Sub), func(c cli.Command) bool { return c.Name == "rm" })
	cmd.Sub = append(cmd.Sub, volumeRm(s), volumePrune(s))
	return cmd
}

func volumeRm(s *session) cli.Command {
	var force bool
	return cli.Command{
		Name: "rm", Args: "NAME...", MinArgs: 1, MaxArgs: cli.Many, Short: "remove volumes and what is in them",
		Flags: func(f *cli.Flags) { f.Bool(&force, "force", "f", "a volume that is not there is no error") },
		Run: func(c *cli.Call) error {
			q := url.Values{"force": {strconv.FormatBool(force)}}
			err := each(c, func(ctx context.Context, name string) error {
				return s.client().do(ctx, http.MethodDelete, "/volumes/"+name, q, nil, nil)
			})
			if !errors.Is(err, errNoEngine) {
				return err
			}
			if local := s.local("volume"); local != nil {
				for i := range local.Sub {
					if local.Sub[i].Name == "rm" {
						return cli.Run(&local.Sub[i], c.IO, c.Path, c.Raw)
					}
				}
			}
			return err
		},
	}
}

func volumePrune(s *session) cli.Command {
	var all bool
	return cli.Command{
		Name: "prune", Short: "remove volumes without a name that no container has",
		Flags: func(f *cli.Flags) { f.Bool(&all, "all", "a", "those with a name, too") },
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			f := filterFlag{}
			if all {
				f["all"] = []string{"true"}
			}
			var report volume.PruneReport
			if err := s.client().do(ctx, http.MethodPost, "/volumes/prune", url.Values{"filters": {f.encode()}}, nil, &report); err != nil {
				return err
			}
			for _, name := range report.VolumesDeleted {
				fmt.Fprintln(c.Out, name)
			}
			return nil
		},
	}
}

package enginecli

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/cli"
)

func updateCommand(s *session) cli.Command {
	var r run
	return cli.Command{
		Name: "update", Args: "CONTAINER...", MinArgs: 1, MaxArgs: cli.Many, Short: "change the limits of containers",
		Flags: func(f *cli.Flags) {
			f.String(&r.restart, "restart", "", "no, always, unless-stopped or on-failure[:TIMES]: `WHEN` to start it again")
			f.String(&r.memory, "memory", "m", "at most `SIZE` of memory: 64m, 1g")
			f.String(&r.swap, "memory-swap", "", "at most `SIZE` of memory and swap, -1 for no limit of swap")
			f.Func(sizeTo(&r.host.MemoryReservation), "memory-reservation", "", "`SIZE` of memory that it is left when others want more")
			f.String(&r.cpus, "cpus", "", "at most `NUMBER` of CPUs: 0.5")
			f.Func(func(v string) (err error) {
				r.host.CPUShares, err = strconv.ParseInt(v, 10, 64)
				return err
			}, "cpu-shares", "", "`WEIGHT` against others (1024)")
			f.String(&r.host.CpusetCpus, "cpuset-cpus", "", "the `CPUS` to run on: 0,2-3")
			f.Int(&r.pids, "pids-limit", "", "at most `NUMBER` of processes")
		},
		Run: func(c *cli.Call) error {
			if err := r.limits(c); err != nil {
				return err
			}
			policy := container.RestartPolicy{}
			if r.restart != "" {
				var err error
				if policy, err = parseRestart(r.restart); err != nil {
					return err
				}
			}
			body := struct {
				container.Resources
				RestartPolicy container.RestartPolicy
			}{r.host.Resources, policy}
			return each(c, func(ctx context.Context, name string) error {
				var out container.UpdateResponse
				err := s.client().do(ctx, http.MethodPost, "/containers/"+name+"/update", nil, body, &out)
				for _, w := range out.Warnings {
					fmt.Fprintln(c.Err, "warning:", w)
				}
				return err
			})
		},
	}
}

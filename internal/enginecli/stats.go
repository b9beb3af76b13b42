package enginecli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/order"
)

// between is the time between two measurements of one table.
const between = 500 * time.Millisecond

func statsCommand(s *session) cli.Command {
	var once, asJSON bool
	return cli.Command{
		Name: "stats", Args: "[CONTAINER...]", MaxArgs: cli.Many, Short: "show what containers take",
		Long: "Show what containers take of CPU, memory, network and disks: a view that changes on a terminal, else one table.",
		Flags: func(f *cli.Flags) {
			f.Bool(&once, "no-stream", "", "print one table")
			f.Bool(&asJSON, "json", "", "print JSON")
		},
		Run: func(c *cli.Call) error {
			if !once && !asJSON && onTerminal(c) {
				return s.view(c, c.Args)
			}
			ctx, cancel := interruptible()
			defer cancel()
			all, err := s.sampled(ctx, c.Args)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.Out, all)
			}
			return statsTable(c.Out, all)
		},
	}
}

// sampled measures twice, for the CPU's share.
func (s *session) sampled(ctx context.Context, names []string) ([]sample, error) {
	m := newSampler(s.client(), names)
	if _, err := m.take(ctx); err != nil {
		return nil, err
	}
	select {
	case <-time.After(between):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	all, err := m.take(ctx)
	order.Stably(all, byCPU)
	return all, err
}

func byCPU(a, b sample) int {
	if a.CPU != b.CPU {
		if a.CPU > b.CPU {
			return -1
		}
		return 1
	}
	return strings.Compare(a.Name, b.Name)
}

func statsTable(w io.Writer, all []sample) error {
	t := table(w)
	fmt.Fprintln(t, "CONTAINER\tNAME\tCPU %\tMEMORY\tLIMIT\tNET I/O\tDISK I/O\tPIDS")
	for _, one := range all {
		limit := "-"
		if one.Limit > 0 {
			limit = size(one.Limit)
		}
		fmt.Fprintf(t, "%s\t%s\t%.1f\t%s\t%s\t%s / %s\t%s / %s\t%d\n", short(one.ID), one.Name, one.CPU,
			size(one.Memory), limit, size(one.Received), size(one.Sent), size(one.Read), size(one.Written), one.Pids)
	}
	return t.Flush()
}

package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"tare.dev/tare/internal/cli"
)

const checkLong = `Tell what becomes of each key of a Compose file on a device: it runs, it is ignored, or it is refused, and why. The exit
status is 1 when something is refused. Without --all, what simply runs is counted and not listed.`

// Command is "tarekit compose".
func Command() cli.Command {
	return cli.Command{Name: "compose", Short: "look at Compose files", Sub: []cli.Command{checkCommand()}}
}

func checkCommand() cli.Command {
	var asJSON, all bool
	return cli.Command{
		Name: "check", Args: "FILE...", MinArgs: 1, MaxArgs: cli.Many, Short: "tell what becomes of each key on a device", Long: checkLong,
		Flags: func(f *cli.Flags) {
			f.Bool(&asJSON, "json", "", "print JSON")
			f.Bool(&all, "all", "a", "list what runs, too")
		},
		Run: func(c *cli.Call) error {
			found, err := Check(context.Background(), c.Args)
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(c.Out)
				e.SetIndent("", "  ")
				err = e.Encode(found)
			} else {
				err = list(c, found, all)
			}
			if err == nil && Worst(found) == Refused {
				return &cli.Exit{Status: 1}
			}
			return err
		},
	}
}

// list lists what is worth a look, and counts the rest.
func list(c *cli.Call, found []Finding, all bool) error {
	count := map[Verdict]int{}
	t := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', 0)
	for _, f := range found {
		count[f.Verdict]++
		if all || f.Verdict != Runs || f.Why != "" {
			fmt.Fprintf(t, "%s\t%s\t%s\n", f.Verdict, f.Key, f.Why)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.Out, "%d keys run, %d are ignored, %d are refused\n", count[Runs], count[Ignored], count[Refused])
	return err
}

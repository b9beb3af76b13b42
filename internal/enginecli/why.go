package enginecli

import (
	"encoding/json"
	"fmt"
	"net/http"

	"tare.dev/tare/internal/cli"
)

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
			if err := s.client().do(ctx, http.MethodGet, "/tare/containers/"+c.Args[0]+"/why", nil, nil, &raw); err != nil {
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

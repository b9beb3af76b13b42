package enginecli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/moby/moby/api/types/events"

	"tare.dev/tare/internal/cli"
)

func eventsCommand(s *session) cli.Command {
	var asJSON bool
	since, until := "", ""
	filters := filterFlag{}
	return cli.Command{
		Name: "events", Short: "show what happens as it happens",
		Flags: func(f *cli.Flags) {
			f.Bool(&asJSON, "json", "", "print JSON, an event a line")
			f.String(&since, "since", "", "from this `TIME` on: a date, or how long it is ago (10m)")
			f.String(&until, "until", "", "end at this `TIME`")
			f.Func(filters.add, "filter", "f", "only those with `KEY=VALUE`: type, event, container, image, label, ...; may be given again")
		},
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			q := url.Values{}
			for key, value := range map[string]string{"since": since, "until": until, "filters": filters.encode()} {
				if value != "" {
					q.Set(key, value)
				}
			}
			resp, err := s.client().request(ctx, http.MethodGet, "/events", q, nil)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			d := json.NewDecoder(resp.Body)
			for {
				var m events.Message
				if err := d.Decode(&m); err != nil {
					if errors.Is(err, io.EOF) || ctx.Err() != nil {
						return nil
					}
					return err
				}
				if asJSON {
					err = printJSON(c.Out, m)
				} else {
					err = printEvent(c.Out, &m)
				}
				if err != nil {
					return err
				}
			}
		},
	}
}

// printEvent prints an event for people: labels of compose's are left out, for they fill lines.
func printEvent(w io.Writer, m *events.Message) error {
	name := m.Actor.Attributes["name"]
	if name == "" {
		name = short(m.Actor.ID)
	}
	line := fmt.Sprintf("%s %-9s %-12s %s", time.Unix(0, m.TimeNano).Local().Format("2006-01-02 15:04:05.000"), m.Type, m.Action, name)
	for _, key := range slices.Sorted(maps.Keys(m.Actor.Attributes)) {
		switch key {
		case "exitCode", "signal", "image", "container", "oldName", "execID", "exit":
			value := m.Actor.Attributes[key]
			if key == "container" || key == "execID" {
				value = short(value)
			}
			line += " " + key + "=" + value
		}
	}
	_, err := fmt.Fprintln(w, harmless(line, 0))
	return err
}

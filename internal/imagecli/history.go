package imagecli

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/store"
)

// A step is one line of history --json, the newest first.
type step struct {
	Created   *time.Time `json:"created,omitempty"`
	CreatedBy string     `json:"createdBy"`
	Comment   string     `json:"comment,omitempty"`
	Layer     string     `json:"layer,omitempty"` // digest of the blob, where the step made one
	Size      int64      `json:"sizeBytes"`       // of that blob
}

func historyCommand(s *session) cli.Command {
	var asJSON, whole bool
	return cli.Command{
		Name: "history", Args: "IMAGE", MinArgs: 1, MaxArgs: 1,
		Short: "show the steps an image was made in",
		Long:  "Show the steps an image was made in, the newest first. Sizes are of the layers as they were pulled.",
		Flags: func(f *cli.Flags) {
			f.Bool(&asJSON, "json", "", "print JSON")
			f.Bool(&whole, "no-trunc", "", "print all of each step")
		},
		Run: s.onStore(func(c *cli.Call, st *store.Store) error {
			i, err := find(st, c.Args[0])
			if err != nil {
				return err
			}
			steps, err := history(i)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.Out).Encode(steps)
			}
			return historyTable(c, steps, whole)
		}),
	}
}

// history joins the steps of the config with the layers of the manifest. Images may have no steps,
// or too few: what layers are left over has a line without one.
func history(i *store.Image) ([]step, error) {
	config, _, err := i.Config()
	if err != nil {
		return nil, err
	}
	m, _, err := i.Manifest()
	if err != nil {
		return nil, err
	}
	layers := m.Layers
	steps := []step{}
	take := func(s step) step {
		if len(layers) > 0 {
			s.Layer, s.Size = layers[0].Digest.String(), layers[0].Size
			layers = layers[1:]
		}
		return s
	}
	for _, h := range config.History {
		s := step{Created: h.Created, CreatedBy: h.CreatedBy, Comment: h.Comment}
		if !h.EmptyLayer {
			s = take(s)
		}
		steps = append(steps, s)
	}
	for len(layers) > 0 {
		steps = append(steps, take(step{}))
	}
	for a, b := 0, len(steps)-1; a < b; a, b = a+1, b-1 {
		steps[a], steps[b] = steps[b], steps[a]
	}
	return steps, nil
}

func historyTable(c *cli.Call, steps []step, whole bool) error {
	w := tabwriter.NewWriter(c.Out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, "LAYER\tCREATED\tCREATED BY\tSIZE\tCOMMENT")
	for _, s := range steps {
		layer, created := "-", "-"
		if s.Layer != "" {
			layer = s.Layer
			if _, hex, ok := strings.Cut(s.Layer, ":"); ok && !whole {
				layer = hex[:12]
			}
		}
		if s.Created != nil {
			created = s.Created.UTC().Format("2006-01-02 15:04")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", layer, created, line(s.CreatedBy, whole), size(s.Size), line(s.Comment, whole))
	}
	return w.Flush()
}

// line makes one short, harmless line of what an image's maker wrote.
func line(s string, whole bool) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 45 && !whole {
		s = string(r[:44]) + "…"
	}
	return s
}

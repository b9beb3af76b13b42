package imagecli

import (
	"encoding/json"
	"fmt"
	"io"

	"tare.dev/tare/internal/cli"
)

// A listing is how a command prints a list: for people, as JSON, or only what names its things.
type listing struct{ json, quiet bool }

func (l *listing) flags(f *cli.Flags, names string) {
	f.Bool(&l.json, "json", "", "print JSON; with -q a list of "+names)
	f.Bool(&l.quiet, "quiet", "q", "print the "+names+" alone")
}

// names prints what -q asks for.
func (l *listing) names(out io.Writer, all []string) error {
	if l.json {
		return json.NewEncoder(out).Encode(append([]string{}, all...))
	}
	for _, name := range all {
		if _, err := fmt.Fprintln(out, name); err != nil {
			return err
		}
	}
	return nil
}

package imagecli

import (
	"encoding/json"
	"fmt"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/transfer"
)

const copyLong = `Copy an image from one place to another, byte by byte, without the store. What the destination
has is not fetched, and a registry is asked to take blobs over from its other repositories.

` + places

type copying struct {
	registries
	platform string
	all      bool
	json     bool
	quiet    bool
}

func copyCommand() cli.Command {
	var p copying
	return cli.Command{
		Name: "copy", Args: "SOURCE DEST", MinArgs: 2, MaxArgs: 2,
		Short: "copy an image between registries and files",
		Long:  copyLong,
		Flags: func(f *cli.Flags) {
			p.registries.flags(f)
			f.String(&p.platform, "platform", "", "`OS/CPU[/VARIANT]` of the image; this machine's unless given")
			f.Bool(&p.all, "all", "a", "copy the image for all platforms")
			f.Bool(&p.json, "json", "", "print the result as JSON, and progress as JSON lines on standard error")
			f.Bool(&p.quiet, "quiet", "q", "print the digest alone")
		},
		Run: p.run,
	}
}

func (p *copying) run(c *cli.Call) error {
	work()
	ctx, cancel := interruptible()
	defer cancel()
	show := newProgress(c.Err, p.json, p.quiet)
	o := transfer.CopyOptions{Progress: show.event}
	if !p.all {
		var err error
		if o.Choose, err = chooser(p.platform); err != nil {
			return err
		}
	} else if p.platform != "" {
		return c.Usagef("--all and --platform exclude each other")
	}
	from, err := p.source(c.Args[0], show.note)
	if err != nil {
		return err
	}
	defer from.close()
	to, err := p.target(c.Args[1], c.Out, show.note)
	if err != nil {
		return err
	}
	if a, b := from.at, to.at; a.Kind == reference.Registry && b.Kind == a.Kind && a.Ref.Registry == b.Ref.Registry {
		o.From = []string{a.Ref.Repository}
	}
	got, err := transfer.Copy(ctx, from.Source, from.name, to.Destination, to.name, o)
	show.end()
	if err = to.end(err); err != nil {
		return fmt.Errorf("copy %s: %w", c.Args[0], err)
	}
	switch {
	case p.json:
		return json.NewEncoder(c.Out).Encode(newSent(to.at, got))
	case p.quiet:
		fmt.Fprintln(c.Out, got.Desc.Digest)
		return nil
	}
	return summary(c, to.at, got)
}

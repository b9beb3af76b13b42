package imagecli

import (
	"encoding/json"
	"fmt"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/transfer"
)

const pullLong = `Fetch an image and put it into the store. IMAGE is a name as docker has them
(nginx, registry.example:5000/app:1.2, app@sha256:...).

Each file is written once, straight to its final place; one that another image or the base
system has is not written at all. A connection that breaks is made again where it broke.

` + places

type pull struct {
	registries
	platform string
	json     bool
	quiet    bool
}

func pullCommand(s *session) cli.Command {
	var p pull
	return cli.Command{
		Name: "pull", Args: "IMAGE", MinArgs: 1, MaxArgs: 1,
		Short: "fetch an image from a registry",
		Long:  pullLong,
		Flags: func(f *cli.Flags) {
			p.registries.flags(f)
			f.String(&p.platform, "platform", "", "`OS/CPU[/VARIANT]` of the image; this machine's unless given")
			f.Bool(&p.json, "json", "", "print the result as JSON, and progress as JSON lines on standard error")
			f.Bool(&p.quiet, "quiet", "q", "print the digest alone")
		},
		Run: func(c *cli.Call) error { return p.run(s, c) },
	}
}

func (p *pull) run(s *session, c *cli.Call) error {
	work()
	ctx, cancel := interruptible()
	defer cancel()
	show := newProgress(c.Err, p.json, p.quiet)
	src, err := p.source(c.Args[0], show.note)
	if err != nil {
		return err
	}
	defer src.close()
	choose, err := chooser(p.platform)
	if err != nil {
		return err
	}
	st, err := s.open()
	if err != nil {
		return err
	}
	defer st.Close()
	got, err := transfer.Pull(ctx, src.Source, src.name, st, transfer.PullOptions{
		Choose: choose, Names: []string{src.local}, Progress: show.event,
	})
	show.end()
	if err != nil {
		return fmt.Errorf("pull %s: %w", c.Args[0], err)
	}
	return p.report(c, src.local, got)
}

// pulled is what pull --json prints.
type pulled struct {
	Name    string `json:"name"`
	Digest  string `json:"digest"` // of the image's manifest
	Index   string `json:"index,omitempty"`
	New     bool   `json:"new"`
	Fetched int64  `json:"fetchedBytes"`
	Bytes   int64  `json:"bytes"`
	Written int64  `json:"writtenBytes"`
}

func (p *pull) report(c *cli.Call, name string, got transfer.Pulled) error {
	switch {
	case p.json:
		out := pulled{
			Name: name, Digest: got.Image.Digest.String(), New: got.New,
			Fetched: got.Fetched, Bytes: got.Bytes, Written: got.Written,
		}
		if got.Digest != got.Image.Digest {
			out.Index = got.Digest.String()
		}
		return json.NewEncoder(c.Out).Encode(out)
	case p.quiet:
		fmt.Fprintln(c.Out, got.Image.Digest)
	case !got.New:
		fmt.Fprintf(c.Out, "%s is up to date\n%s\n", name, got.Image.Digest)
	default:
		fmt.Fprintf(c.Out, "%s\n%s\nfetched %s, unpacked %s, new on flash %s\n",
			name, got.Image.Digest, size(got.Fetched), size(got.Bytes), size(got.Written))
	}
	return nil
}

package imagecli

import (
	"encoding/json"
	"fmt"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

const pushLong = `Send an image of the store to a registry or a file: to DEST, or to the place its name tells.

Where the layers of the image are there already, it becomes the same image there, by the same
digest. Otherwise it goes as one layer with all its files, which has a digest of its own: the
store keeps files, not layers. To move an image with its layers, use "tare copy".

` + places

type push struct {
	registries
	compression string
	flatten     bool
	json        bool
	quiet       bool
}

func pushCommand(s *session) cli.Command {
	p := push{compression: string(layer.Gzip)}
	return cli.Command{
		Name: "push", Args: "IMAGE [DEST]", MinArgs: 1, MaxArgs: 2,
		Short: "send an image to a registry",
		Long:  pushLong,
		Flags: func(f *cli.Flags) {
			p.registries.flags(f)
			f.String(&p.compression, "compress", "", "gzip, zstd or none: `HOW` the one layer is compressed")
			f.Bool(&p.flatten, "flatten", "", "send one layer in any case")
			f.Bool(&p.json, "json", "", "print the result as JSON, and progress as JSON lines on standard error")
			f.Bool(&p.quiet, "quiet", "q", "print the digest alone")
		},
		Run: func(c *cli.Call) error { return p.run(s, c) },
	}
}

func (p *push) run(s *session, c *cli.Call) error {
	work()
	ctx, cancel := interruptible()
	defer cancel()
	how, err := layer.ParseCompression(p.compression)
	if err != nil {
		return fmt.Errorf("--compress: %w", err)
	}
	st, err := s.open()
	if err != nil {
		return err
	}
	defer st.Close()
	i, err := find(st, c.Args[0])
	if err != nil {
		return err
	}
	whole, let, err := s.whole(st, i)
	if err != nil {
		return err
	}
	show := newProgress(c.Err, p.json, p.quiet)
	to, err := p.target(c.Args[len(c.Args)-1], c.Out, show.note)
	if err != nil {
		return let(err)
	}
	got, err := transfer.Push(ctx, whole, to.Destination, to.name, transfer.PushOptions{
		CopyOptions: transfer.CopyOptions{From: siblings(i, to.at), Progress: show.event},
		Compression: how, Flatten: p.flatten,
	})
	show.end()
	if err = to.end(let(err)); err != nil {
		return fmt.Errorf("push %s: %w", c.Args[0], err)
	}
	return p.report(c, to.at, i, got)
}

// siblings are the other repositories of the destination's registry that the image has names in.
func siblings(i *store.Image, to reference.Place) []string {
	var all []string
	for _, name := range i.Names {
		r, err := reference.Parse(name)
		if err == nil && to.Kind == reference.Registry && r.Registry == to.Ref.Registry && r.Repository != to.Ref.Repository {
			all = append(all, r.Repository)
		}
	}
	return all
}

// sent is what push --json and copy --json print.
type sent struct {
	Place   string `json:"place"`
	Digest  string `json:"digest"`
	Flat    bool   `json:"flat,omitempty"`
	Sent    int64  `json:"sentBytes"`
	Skipped int64  `json:"skippedBytes"`
	Mounted int64  `json:"mountedBytes"`
}

func newSent(to reference.Place, got transfer.Copied) sent {
	return sent{
		Place: to.String(), Digest: got.Desc.Digest.String(),
		Sent: got.Sent, Skipped: got.Skipped, Mounted: got.Mounted,
	}
}

func (p *push) report(c *cli.Call, to reference.Place, i *store.Image, got transfer.Pushed) error {
	switch {
	case p.json:
		out := newSent(to, got.Copied)
		out.Flat = got.Flat
		return json.NewEncoder(c.Out).Encode(out)
	case p.quiet:
		fmt.Fprintln(c.Out, got.Desc.Digest)
		return nil
	}
	if got.Flat {
		fmt.Fprintf(c.Err, "the layers of %s are not there: it went as one layer, and has another digest\n", i.Digest)
	}
	return summary(c, to, got.Copied)
}

// summary is for people. It goes to standard error when an archive goes to standard output.
func summary(c *cli.Call, to reference.Place, got transfer.Copied) error {
	w := c.Out
	if to.Path == "-" {
		w = c.Err
	}
	line := "sent " + size(got.Sent)
	if got.Skipped > 0 {
		line += ", there already " + size(got.Skipped)
	}
	if got.Mounted > 0 {
		line += ", taken over from another repository " + size(got.Mounted)
	}
	_, err := fmt.Fprintf(w, "%s\n%s\n%s\n", to, got.Desc.Digest, line)
	return err
}

package imagecli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/layout"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

const loadLong = `Put all images of an archive into the store, with the names they have there: of what "tare save",
"docker save" or "podman save" wrote, of an OCI archive, or of a directory that is an OCI image
layout. Without -i it is read from standard input.`

type load struct {
	input    string
	platform string
	quiet    bool
}

func loadCommand(s *session) cli.Command {
	p := load{input: "-"}
	return cli.Command{
		Name: "load", MaxArgs: 0,
		Short: "put the images of an archive into the store",
		Long:  loadLong,
		Flags: func(f *cli.Flags) {
			f.String(&p.input, "input", "i", "read `FILE` instead of standard input")
			f.String(&p.platform, "platform", "", "`OS/CPU[/VARIANT]` of the images; this machine's unless given")
			f.Bool(&p.quiet, "quiet", "q", "show no progress")
		},
		Run: func(c *cli.Call) error { return p.run(s, c) },
	}
}

func (p *load) run(s *session, c *cli.Call) error {
	work()
	ctx, cancel := interruptible()
	defer cancel()
	choose, err := chooser(p.platform)
	if err != nil {
		return err
	}
	r, err := openLayout(p.input, c.In)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer r.Close()
	st, err := s.open()
	if err != nil {
		return err
	}
	defer st.Close()
	all := archived(r.List(), choose)
	if len(all) == 0 {
		return fmt.Errorf("load %s: there is no image for this machine in it", p.input)
	}
	for _, i := range all {
		if err := p.one(ctx, c, st, r, i, choose); err != nil {
			return fmt.Errorf("load %s: %w", p.input, err)
		}
	}
	return nil
}

type chooseFunc = func(v1.Index) (v1.Descriptor, error)

func (p *load) one(ctx context.Context, c *cli.Call, st *store.Store, r *layout.Reader, i layout.Entry, choose chooseFunc) error {
	show := newProgress(c.Err, false, p.quiet)
	defer show.end()
	got, err := transfer.Pull(ctx, r, i.Digest.String(), st, transfer.PullOptions{
		Choose: choose, Names: i.Names, Progress: show.event,
	})
	if err != nil {
		return err
	}
	show.end()
	for _, name := range i.Names {
		fmt.Fprintln(c.Out, "Loaded image:", familiar(name))
	}
	if len(i.Names) == 0 {
		fmt.Fprintln(c.Out, "Loaded image ID:", got.Image.Digest)
	}
	return nil
}

// archived are the images of an archive, each once with all its names. Where they are listed by
// platform, those for other machines are left out.
func archived(list []layout.Entry, choose chooseFunc) []layout.Entry {
	var all []layout.Entry
	for _, e := range list {
		names := fullNames(e.Names)
		if e.Platform != nil && e.Platform.Architecture != "" {
			if _, err := choose(v1.Index{Manifests: []v1.Descriptor{e.Descriptor}}); err != nil {
				continue
			}
		}
		n := slices.IndexFunc(all, func(o layout.Entry) bool { return o.Digest == e.Digest })
		if n < 0 {
			all = append(all, layout.Entry{Descriptor: e.Descriptor, Names: names})
			continue
		}
		for _, name := range names {
			if !slices.Contains(all[n].Names, name) {
				all[n].Names = append(all[n].Names, name)
			}
		}
	}
	return all
}

// fullNames are those that name an image and not only a tag of it.
func fullNames(names []string) []string {
	var all []string
	for _, name := range names {
		r, err := reference.Parse(name)
		if err != nil || !strings.ContainsAny(name, "/:") || slices.Contains(all, r.String()) {
			continue
		}
		all = append(all, r.String())
	}
	return all
}

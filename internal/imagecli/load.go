package imagecli

import (
	"context"
	"errors"
	"fmt"
	"os"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/console"
	"tare.dev/tare/internal/layout"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

const loadLong = `Put all images of an archive into the store, with the names they have there: of what "tare save",
"docker save" or "podman save" wrote, of an OCI archive, or of a directory that is an OCI image
layout. Without -i it is read from standard input, which may be a pipe: each layer is unpacked as
it passes, and nothing is staged.`

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
	st, err := s.open()
	if err != nil {
		return err
	}
	defer st.Close()
	r, err := p.open(ctx, c, st)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer r.Close()
	all := transfer.Archived(r.List(), choose)
	if len(all) == 0 {
		return errors.New("load: the archive has no image for this machine")
	}
	for _, i := range all {
		if err := p.one(ctx, c, st, r, i, choose); err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	return nil
}

// images is where load takes images from.
type images interface {
	transfer.Source
	List() []layout.Entry
	Close() error
}

// open opens the archive in place, or reads it to its end when that cannot be.
func (p *load) open(ctx context.Context, c *cli.Call, st *store.Store) (images, error) {
	in, isFd := c.In.(*os.File)
	path := p.input
	if path == "-" && isFd && isFile(in) {
		path = fmt.Sprintf("/proc/self/fd/%d", in.Fd())
	}
	show := newProgress(c.Err, false, p.quiet)
	defer show.end()
	o := transfer.PullOptions{Progress: show.event}
	if path == "-" {
		if isFd && console.Is(in) {
			return nil, errors.New("read standard input: is a terminal (name a file with -i FILE)")
		}
		return orNil(transfer.Record(ctx, c.In, st, o))
	}
	r, err := layout.Open(path)
	if !errors.Is(err, layout.ErrCompressed) {
		return orNil(r, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return orNil(transfer.Record(ctx, f, st, o))
}

// orNil keeps a nil pointer from being an interface that is not nil.
func orNil(i images, err error) (images, error) {
	if err != nil {
		return nil, err
	}
	return i, nil
}

type chooseFunc = func(v1.Index) (v1.Descriptor, error)

func (p *load) one(ctx context.Context, c *cli.Call, st *store.Store, r images, i layout.Entry, choose chooseFunc) error {
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

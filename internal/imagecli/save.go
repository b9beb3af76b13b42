package imagecli

import (
	"context"
	"errors"
	"fmt"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/layer"
	"tare.dev/tare/internal/layout"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

const saveLong = `Write images of the store into one archive, which "tare load", "docker load" and "podman load"
read, and skopeo and others as an OCI archive too. Each image is one layer in it.`

type save struct {
	output      string
	compression string
	quiet       bool
}

func saveCommand(s *session) cli.Command {
	p := save{compression: string(layer.None)}
	return cli.Command{
		Name: "save", Args: "IMAGE...", MinArgs: 1, MaxArgs: cli.Many,
		Short: "write images into an archive",
		Long:  saveLong,
		Flags: func(f *cli.Flags) {
			f.String(&p.output, "output", "o", "write to `FILE` instead of standard output")
			f.String(&p.compression, "compress", "", "gzip or none: `HOW` the layers are compressed")
			f.Bool(&p.quiet, "quiet", "q", "show no progress")
		},
		Run: func(c *cli.Call) error { return p.run(s, c) },
	}
}

func (p *save) run(s *session, c *cli.Call) error {
	work()
	ctx, cancel := interruptible()
	defer cancel()
	how, err := layer.ParseCompression(p.compression)
	if err != nil {
		return fmt.Errorf("--compress: %w", err)
	}
	if how == layer.Zstd {
		return errors.New("--compress zstd: docker load does not read it (use: tare push --compress zstd IMAGE oci-archive:FILE)")
	}
	st, err := s.open()
	if err != nil {
		return err
	}
	defer st.Close()
	var images []*store.Image
	for _, arg := range c.Args {
		i, err := find(st, arg)
		if err != nil {
			return err
		}
		images = append(images, i)
	}
	if p.output == "" {
		p.output = "-"
	}
	a, end, err := archive(p.output, reference.DockerArchive, c.Out)
	if err != nil {
		return err
	}
	show := newProgress(c.Err, false, p.quiet)
	w := saving{session: s, store: st, archive: a, how: how, show: show}
	for n, i := range images {
		if err = w.add(ctx, i, saveName(c.Args[n], i)); err != nil {
			err = fmt.Errorf("save %s: %w", c.Args[n], err)
			break
		}
	}
	show.end()
	return end(err)
}

// saving is an archive that is being written.
type saving struct {
	session *session
	store   *store.Store
	archive *layout.Archive
	how     layer.Compression
	show    *progress
}

// add writes one image into it.
func (w *saving) add(ctx context.Context, i *store.Image, name string) error {
	whole, let, err := w.session.whole(w.store, i)
	if err != nil {
		return err
	}
	f, err := transfer.Flatten(ctx, whole, w.how, w.show.event)
	if err == nil {
		_, err = transfer.Copy(ctx, f, "", w.archive, name, transfer.CopyOptions{Progress: w.show.event})
	}
	return let(err)
}

// saveName is the name under which an image goes into an archive: the one it was asked for by. By
// a digest it has none there, as with docker save.
func saveName(arg string, i *store.Image) string {
	r, err := reference.Parse(arg)
	if err != nil || r.Tag == "" {
		return ""
	}
	for _, name := range i.Names {
		if name == r.String() {
			return name
		}
	}
	return ""
}

package imagecli

import (
	"encoding/json"
	"fmt"
	"os"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

const packLong = `Make of an image one that devices keep compressed: its files in one pack, which a device writes as it comes
and runs from. DST has the new image; it has the same config and files and a digest of its own.

With --base, files that are in packs of that image, which the devices have already, are not packed again.

Needs mkfs.erofs of the Debian package erofs-utils, no root, and room in $TMPDIR for the image's files twice.

` + places

// KitCommands are the commands about images on the workstation.
func KitCommands() []cli.Command { return []cli.Command{packCommand()} }

type packing struct {
	registries
	bases      []string
	platform   string
	compressor string
	json       bool
}

func packCommand() cli.Command {
	var p packing
	return cli.Command{
		Name: "pack", Args: "SRC DST", MinArgs: 2, MaxArgs: 2,
		Short: "make an image that devices keep compressed", Long: packLong,
		Flags: func(f *cli.Flags) {
			p.registries.flags(f)
			f.Strings(&p.bases, "base", "", "an `IMAGE` of packs that devices have; may be given again")
			f.String(&p.platform, "platform", "", "`OS/CPU[/VARIANT]` to take of an index; this machine's unless given")
			f.String(&p.compressor, "compress", "", "lz4hc, lz4, or what mkfs.erofs has: `HOW` (lz4hc)")
			f.Bool(&p.json, "json", "", "print JSON")
		},
		Run: p.run,
	}
}

func (p *packing) run(c *cli.Call) (err error) {
	ctx, cancel := interruptible()
	defer cancel()
	scratch, err := os.MkdirTemp("", "tarekit-pack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	st, err := store.Open(scratch+"/store", store.Options{Reserve: -1})
	if err != nil {
		return err
	}
	defer st.Close()
	image, err := p.fetch(c, st, c.Args[0])
	if err != nil {
		return err
	}
	var o transfer.PackOptions
	o.Compressor = p.compressor
	for _, name := range p.bases {
		base, err := p.fetch(c, st, name)
		if err != nil {
			return err
		}
		o.Base = append(o.Base, base)
	}
	made, err := transfer.Pack(ctx, st, image, scratch, o)
	if err != nil {
		return err
	}
	show := newProgress(c.Err, p.json, false)
	dst, err := p.target(c.Args[1], c.Out, show.note)
	if err != nil {
		return err
	}
	sent, err := transfer.Copy(ctx, made, "", dst, dst.name, transfer.CopyOptions{Progress: show.event})
	show.end()
	if err = dst.end(err); err != nil {
		return fmt.Errorf("pack to %s: %w", c.Args[1], err)
	}
	return p.report(c, made, sent)
}

// fetch brings an image into the scratch store.
func (p *packing) fetch(c *cli.Call, st *store.Store, name string) (*store.Image, error) {
	ctx, cancel := interruptible()
	defer cancel()
	show := newProgress(c.Err, p.json, false)
	defer show.end()
	src, err := p.source(name, show.note)
	if err != nil {
		return nil, err
	}
	defer src.close()
	choose, err := chooser(p.platform)
	if err != nil {
		return nil, err
	}
	got, err := transfer.Pull(ctx, src.Source, src.name, st, transfer.PullOptions{Choose: choose, Progress: show.event})
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", name, err)
	}
	return got.Image, nil
}

func (p *packing) report(c *cli.Call, made *transfer.Packed, sent transfer.Copied) error {
	if p.json {
		return json.NewEncoder(c.Out).Encode(map[string]any{
			"digest": made.Desc.Digest, "objects": made.Objects, "bytes": made.Bytes, "packBytes": made.Pack, "sentBytes": sent.Sent,
		})
	}
	fmt.Fprintf(c.Out, "%s\n%d files of %s in a pack of %s (%s), sent %s\n",
		made.Desc.Digest, made.Objects, size(made.Bytes), size(made.Pack), percent(made.Pack, made.Bytes), size(sent.Sent))
	return nil
}

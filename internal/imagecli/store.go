package imagecli

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/store"
)

func storeCommand(s *session) cli.Command {
	return cli.Command{
		Name:  "store",
		Short: "measure, check, mend and clean the store",
		Sub: []cli.Command{
			duCommand(s), gcCommand(s), verifyCommand(s), repairCommand(s), adoptCommand(s), ramshareCommand(s), layersCommand(s),
		},
	}
}

const gcLong = `Remove the files that no image has, and what killed commands left behind. It may be
killed itself at any moment. It waits while images are being fetched.`

func gcCommand(s *session) cli.Command {
	var asJSON bool
	return cli.Command{
		Name: "gc", Short: "remove files that no image has", Long: gcLong,
		Flags: func(f *cli.Flags) { f.Bool(&asJSON, "json", "", "print JSON") },
		Run: s.onStore(func(c *cli.Call, st *store.Store) error {
			if err := errors.Join(s.sweep(), s.sweepLayers(), s.sweepVolumes(), sweepStubs(st)); err != nil {
				return err
			}
			freed, err := st.GC()
			if err != nil {
				return mendable(st, err)
			}
			if asJSON {
				return json.NewEncoder(c.Out).Encode(freed)
			}
			fmt.Fprintf(c.Out, "freed %s in %d files\n", size(freed.Bytes), freed.Objects)
			return nil
		}),
	}
}

const adoptLong = `Make the files of DIR, the base system, files of the store: a library that images have too is
then once on flash and once in memory. Nothing is copied or written but the metadata.

The files must not be changed in place afterwards, so what changes while a system runs (/etc, /var,
/home and the like) is left out, and what others than root may write to. DIR must be on the store's file system.`

func adoptCommand(s *session) cli.Command {
	o := store.AdoptOptions{Inline: store.Inline, Arch: runtime.GOARCH}
	var skip []string
	var asJSON bool
	return cli.Command{
		Name: "adopt", Args: "DIR", MinArgs: 1, MaxArgs: 1,
		Short: "share the base system's files with the images", Long: adoptLong,
		Flags: func(f *cli.Flags) {
			f.String(&o.Name, "name", "", "`NAME` of the image that stands for it (tare.local/base:latest)")
			f.Strings(&skip, "skip", "", "leave out this `PATH` below DIR, in place of the usual ones; may be given again")
			f.Bool(&asJSON, "json", "", "print JSON")
		},
		Run: func(c *cli.Call) error {
			work()
			ctx, cancel := interruptible()
			defer cancel()
			st, err := s.open()
			if err != nil {
				return err
			}
			defer st.Close()
			dir, err := filepath.Abs(c.Args[0])
			if err != nil {
				return err
			}
			if o.Name == "" {
				o.Name = local + "/base:latest"
			}
			if o.Skip = skip; len(skip) == 0 {
				o.Skip = store.DefaultSkip()
			}
			o.Waiting = func(path string) {
				fmt.Fprintf(c.Err, "waiting for the program that has locked %s\n", path)
			}
			a, err := st.Adopt(ctx, dir, o)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.Out).Encode(map[string]any{
					"name": o.Name, "digest": a.Image.Digest, "files": a.Files, "bytes": a.Bytes, "savedBytes": a.Saved,
					"leftOut": a.Left,
				})
			}
			fmt.Fprintf(c.Out, "%s\n%s\n%d files, %s, of which %s were in the store and are free now\n",
				o.Name, a.Image.Digest, a.Files, size(a.Bytes), size(a.Saved))
			if a.Left > 0 {
				fmt.Fprintf(c.Out, "%d files left out, because others than root may change them\n", a.Left)
			}
			return nil
		},
	}
}

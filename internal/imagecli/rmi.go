package imagecli

import (
	"errors"
	"fmt"
	"path/filepath"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/instance"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/store"
)

const rmiLong = `Take a name away from an image, and remove the image with its last name. Given a digest,
remove the image with all its names. The space of files that no other image has is free after
"tare store gc", which this runs unless --no-gc is given.`

func rmiCommand(s *session) cli.Command {
	var noGC, force bool
	return cli.Command{
		Name: "rmi", Args: "IMAGE...", MinArgs: 1, MaxArgs: cli.Many,
		Short: "remove images",
		Long:  rmiLong,
		Flags: func(f *cli.Flags) {
			f.Bool(&noGC, "no-gc", "", "leave the files of the image to a later gc")
			f.Bool(&force, "force", "f", "an image that is not there is no error")
		},
		Run: s.onStore(func(c *cli.Call, st *store.Store) error {
			errs := []error{s.sweep(), s.sweepLayers()}
			some := false
			for _, arg := range c.Args {
				err := remove(s, c, st, arg)
				if force && errors.Is(err, store.ErrNotFound) {
					err = nil
				}
				errs = append(errs, err)
				some = some || err == nil
			}
			if some && !noGC {
				_, err := st.GC()
				errs = append(errs, mendable(st, err), sweepStubs(st))
			}
			return errors.Join(errs...)
		}),
	}
}

// remove takes one name away, or a whole image when a digest was given.
func remove(s *session, c *cli.Call, st *store.Store, arg string) error {
	if r, err := reference.Parse(arg); err == nil {
		name := r.String()
		if d, err := st.Ref(name); err == nil {
			i, err := st.Image(d)
			if err == nil && len(i.Names) > 1 {
				fmt.Fprintln(c.Out, "untagged:", r.Familiar())
				return st.Untag(name)
			}
		}
	}
	i, err := find(st, arg)
	if err != nil {
		return err
	}
	// A container that was killed has left its mount.
	if err := instance.Release(s.mounter(), i); err != nil {
		return err
	}
	if err := st.Remove(i); err != nil {
		return heldHint(s, err)
	}
	for _, name := range i.Names {
		fmt.Fprintln(c.Out, "untagged:", familiar(name))
	}
	fmt.Fprintln(c.Out, "removed:", i.Digest)
	return nil
}

// heldHint says how to go on with an image that a writable layer holds.
func heldHint(s *session, err error) error {
	held, ok := errors.AsType[*store.HeldError](err)
	if !ok {
		return err
	}
	switch dirs, _ := s.layersDir(); {
	case filepath.IsAbs(held.Container):
		return fmt.Errorf("%w, which has written there; remove that directory first", err)
	case held.Dir == dirs:
		return fmt.Errorf("%w; tare rm %s removes what it wrote to flash", err, held.Container)
	}
	return err
}

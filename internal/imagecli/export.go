package imagecli

import (
	"fmt"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/transfer"
)

const exportLong = `Write the root file system of an image as a tar stream, with all metadata: owners, times to the
nanosecond, hard links, devices, extended attributes and capabilities. Unpack it with
"tar --xattrs --xattrs-include=* --same-owner -xp".`

func exportCommand(s *session) cli.Command {
	var path string
	var quiet bool
	return cli.Command{
		Name: "export", Args: "IMAGE", MinArgs: 1, MaxArgs: 1,
		Short: "write the files of an image as a tar stream",
		Long:  exportLong,
		Flags: func(f *cli.Flags) {
			f.String(&path, "output", "o", "write to `FILE` instead of standard output")
			f.Bool(&quiet, "quiet", "q", "show no progress")
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
			i, err := find(st, c.Args[0])
			if err != nil {
				return err
			}
			whole, let, err := s.whole(st, i)
			if err != nil {
				return err
			}
			out, err := newOutput(path, c.Out)
			if err != nil {
				return let(err)
			}
			show := newProgress(c.Err, false, quiet)
			err = transfer.Export(ctx, whole, out, show.event)
			show.end()
			if err = out.end(let(err)); err != nil {
				return fmt.Errorf("export %s: %w", c.Args[0], err)
			}
			return nil
		},
	}
}

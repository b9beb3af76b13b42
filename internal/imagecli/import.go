package imagecli

import (
	"fmt"
	"io"
	"os"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/platform"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/transfer"
)

const importLong = `Make an image of a root file system: FILE is a tar file, also a compressed one; "-" is standard
input. The same file gives the same image, made at the file's own time.`

type importing struct {
	changes  []string
	message  string
	platform string
	quiet    bool
}

func importCommand(s *session) cli.Command {
	var p importing
	return cli.Command{
		Name: "import", Args: "FILE|- [NAME]", MinArgs: 1, MaxArgs: 2,
		Short: "make an image of a root file system",
		Long:  importLong,
		Flags: func(f *cli.Flags) {
			f.Strings(&p.changes, "change", "c", "an `INSTRUCTION` of a Dockerfile for the config: CMD, ENV, ...; may be given again")
			f.String(&p.message, "message", "m", "`TEXT` for the image's history")
			f.String(&p.platform, "platform", "", "`OS/CPU[/VARIANT]` of the files; this machine's unless given")
			f.Bool(&p.quiet, "quiet", "q", "print the digest alone")
		},
		Run: func(c *cli.Call) error { return p.run(s, c) },
	}
}

func (p *importing) run(s *session, c *cli.Call) error {
	work()
	ctx, cancel := interruptible()
	defer cancel()
	o := transfer.ImportOptions{Comment: p.message}
	if err := p.options(&o, c.Args[1:]); err != nil {
		return err
	}
	in, err := p.input(&o, c)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := s.open()
	if err != nil {
		return err
	}
	defer st.Close()
	show := newProgress(c.Err, false, p.quiet)
	o.Progress = show.event
	got, err := transfer.Import(ctx, in, st, o)
	show.end()
	if err != nil {
		return fmt.Errorf("import %s: %w", c.Args[0], err)
	}
	fmt.Fprintln(c.Out, got.Image.Digest)
	if !p.quiet {
		fmt.Fprintf(c.Err, "read %s, unpacked %s, new on flash %s\n", size(got.Fetched), size(got.Bytes), size(got.Written))
	}
	return nil
}

// input opens the file, and notes what it says of the image.
func (p *importing) input(o *transfer.ImportOptions, c *cli.Call) (io.ReadCloser, error) {
	now := time.Now().UTC().Truncate(time.Second)
	o.Created = &now
	if c.Args[0] == "-" {
		return io.NopCloser(c.In), nil
	}
	f, err := os.Open(c.Args[0])
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if st.Mode().IsRegular() {
		made := st.ModTime().UTC().Truncate(time.Second)
		o.Created, o.Total = &made, st.Size()
	}
	return f, nil
}

func (p *importing) options(o *transfer.ImportOptions, names []string) error {
	for _, line := range p.changes {
		if err := transfer.Change(&o.Config, line); err != nil {
			return fmt.Errorf("--%w", err)
		}
	}
	for _, name := range names {
		r, err := reference.Parse(name)
		if err != nil {
			return err
		}
		if r.Digest != "" {
			return fmt.Errorf("import as %s: a name with a digest is what it is", name)
		}
		o.Names = append(o.Names, r.String())
	}
	of := platform.Machine()
	if p.platform != "" {
		var err error
		if of, err = platform.Parse(p.platform); err != nil {
			return fmt.Errorf("--%w", err)
		}
	}
	o.Platform = v1.Platform{OS: of[0].OS, Architecture: of[0].Architecture, Variant: of[0].Variant}
	if p.platform == "" && o.Platform.Architecture == "amd64" {
		o.Platform.Variant = "" // the files may run on any, and images do not say v1
	}
	return nil
}

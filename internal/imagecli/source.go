package imagecli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/layout"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/registry"
	"tare.dev/tare/internal/transfer"
)

// registries is how registries are reached, by the command line.
type registries struct {
	insecure []string
	authFile string
	caFiles  []string
}

func (r *registries) flags(f *cli.Flags) {
	f.Strings(&r.insecure, "plain-http", "", "allow plain HTTP to this `HOST[:PORT]`; may be given again")
	f.String(&r.authFile, "authfile", "", "`FILE` with credentials, as docker login writes it")
	f.Strings(&r.caFiles, "ca", "", "`FILE` with a certificate authority to trust (PEM); may be given again")
}

func (r *registries) access(note func(string)) (*registry.Access, error) {
	o, err := registry.ReadConfig(registry.DefaultConfig)
	if err != nil {
		return nil, err
	}
	o.Insecure = append(o.Insecure, r.insecure...)
	o.CAFiles = append(o.CAFiles, r.caFiles...)
	o.Note = note
	for _, file := range r.caFiles {
		if err := registry.CheckAuthority(file); err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
	}
	if r.authFile != "" {
		if _, err := os.Stat(r.authFile); err != nil {
			return nil, fmt.Errorf("--authfile: %w", err) // of the usual files each may lack
		}
		o.AuthFiles = []string{r.authFile}
	}
	return registry.New(o)
}

// places is how the long help of a command spells where an image may be.
const places = `An image can be at these places:
  docker://NAME, or NAME alone   at a registry, named as docker does
  oci:DIR[:TAG]                  in a directory that is an OCI image layout
  oci-archive:FILE[:TAG]         in such a directory, in a tar file
  docker-archive:FILE[:NAME]     in a file that docker save wrote`

// A place is where an image comes from.
type place struct {
	transfer.Source
	name  string // to resolve there
	local string // what the image is called here
	at    reference.Place
	close func()
}

func (r *registries) source(arg string, note func(string)) (*place, error) {
	p, err := reference.ParsePlace(arg)
	if err != nil {
		return nil, err
	}
	if p.Kind == reference.Registry {
		access, err := r.access(note)
		if err != nil {
			return nil, err
		}
		return &place{access.Client(p.Ref), p.Ref.Version(), p.Ref.String(), p, access.Close}, nil
	}
	files, err := openLayout(p.Path, os.Stdin)
	if err != nil {
		return nil, err
	}
	return &place{files, p.Name, localName(p, files.List()), p, func() { files.Close() }}, nil
}

// openLayout opens images in files. "-" is standard input. What comes through a pipe, or is
// compressed as a whole, is copied to $TMPDIR first, to a file without a name.
func openLayout(path string, in *os.File) (*layout.Reader, error) {
	if path == "-" {
		if !isFile(in) {
			return layout.Spool(in, os.TempDir())
		}
		path = fmt.Sprintf("/proc/self/fd/%d", in.Fd())
	}
	r, err := layout.Open(path)
	if !errors.Is(err, layout.ErrCompressed) {
		return r, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return layout.Spool(f, os.TempDir())
}

func isFile(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode().IsRegular()
}

// localName is what an image from a file is called here: by its own name if it has one, or else, as
// podman does, by the file's.
func localName(p reference.Place, list []layout.Entry) string {
	own := []string{p.Name}
	if p.Name == "" && len(list) == 1 {
		own = list[0].Names
	}
	if own = transfer.FullNames(own); len(own) > 0 {
		return own[0]
	}
	base, _, _ := strings.Cut(strings.ToLower(filepath.Base(p.Path)), ".")
	tag := p.Name
	if !reference.IsTag(tag) {
		tag = "latest"
	}
	if r, err := reference.Parse("localhost/" + base + ":" + tag); err == nil {
		return r.String()
	}
	return ""
}

// A target is where an image goes.
type target struct {
	transfer.Destination
	name string // what it is called there
	at   reference.Place
	// end is called once, with what became of it; it makes an archive whole or removes it.
	end func(error) error
}

func (r *registries) target(arg string, out io.Writer, note func(string)) (*target, error) {
	p, err := reference.ParsePlace(arg)
	if err != nil {
		return nil, err
	}
	switch p.Kind {
	case reference.Registry:
		return r.registryTarget(p, note)
	case reference.OCI:
		d, err := layout.CreateDir(p.Path)
		if err != nil {
			return nil, err
		}
		return &target{d, p.Name, p, func(err error) error { return errors.Join(err, d.Close()) }}, nil
	}
	a, end, err := archive(p.Path, p.Kind, out)
	if err != nil {
		return nil, err
	}
	return &target{a, p.Name, p, end}, nil
}

func (r *registries) registryTarget(p reference.Place, note func(string)) (*target, error) {
	if p.Ref.Digest != "" {
		return nil, fmt.Errorf("image %s: is named by its digest, and can be given no other (name a tag)", p.Ref.Familiar())
	}
	access, err := r.access(note)
	if err != nil {
		return nil, err
	}
	return &target{access.Client(p.Ref), p.Ref.Tag, p, func(err error) error {
		access.Close()
		return err
	}}, nil
}

// archive begins one in a file, or on standard output for "-". end is called once, with what became of it.
func archive(path string, kind reference.Kind, out io.Writer) (a *layout.Archive, end func(error) error, err error) {
	if path != "-" && !inPlace(path) {
		a, err := layout.CreateArchive(path, kind)
		return a, func(err error) error {
			if err != nil {
				return errors.Join(err, a.Abort())
			}
			return a.Close()
		}, err
	}
	o, err := newOutput(path, out)
	if err != nil {
		return nil, nil, err
	}
	a = layout.NewArchive(o, kind)
	return a, func(err error) error {
		if err == nil {
			err = a.Close()
		}
		return o.end(err)
	}, nil
}

package imagecli

import (
	"errors"
	"fmt"

	"tare.dev/tare/internal/cli"
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
	o := registry.Options{Insecure: r.insecure, CAFiles: r.caFiles, Note: note}
	if r.authFile != "" {
		o.AuthFiles = []string{r.authFile}
	}
	return registry.New(o)
}

// A place is where an image comes from.
type place struct {
	transfer.Source
	name  string // to resolve there
	local string // what the image is called here; "" when that is for the user to say
	close func()
}

func (r *registries) source(arg string, note func(string)) (*place, error) {
	p, err := reference.ParsePlace(arg)
	if err != nil {
		return nil, err
	}
	if p.Kind != reference.Registry {
		return nil, fmt.Errorf("image %s: %w", arg, errors.ErrUnsupported)
	}
	access, err := r.access(note)
	if err != nil {
		return nil, err
	}
	return &place{access.Client(p.Ref), p.Ref.Version(), p.Ref.String(), access.Close}, nil
}

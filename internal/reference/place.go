package reference

import (
	"fmt"
	"strings"
)

// A Kind is a way to keep images.
type Kind string

// The kinds, by the names that skopeo(1) gives them on its command line.
const (
	Registry      Kind = "docker"         // at a registry
	OCI           Kind = "oci"            // a directory that is an OCI image layout
	OCIArchive    Kind = "oci-archive"    // such a directory in a tar file
	DockerArchive Kind = "docker-archive" // what docker save writes
)

// A Place is where an image is, or is to be: at a registry, or in a file.
type Place struct {
	Kind Kind
	Ref  Ref    // of a Registry
	Path string // of the others; "-" is standard input or output
	Name string // which image in Path: a tag, or a name of docker's; "" is the only one
}

// ParsePlace reads a place as skopeo(1) spells it: docker://REF, oci:DIR[:TAG],
// oci-archive:FILE[:TAG], docker-archive:FILE[:REF]. Anything else is the name of an
// image at a registry. A path cannot hold a colon.
func ParsePlace(s string) (Place, error) {
	kind, rest, _ := strings.Cut(s, ":")
	p := Place{Kind: Kind(kind)}
	switch p.Kind {
	case OCI, OCIArchive, DockerArchive:
		p.Path, p.Name, _ = strings.Cut(rest, ":")
		if p.Path == "" {
			return Place{}, fmt.Errorf("image %q: no path", s)
		}
		if err := p.canonical(s); err != nil {
			return Place{}, err
		}
		return p, nil
	}
	p.Kind = Registry
	var err error
	p.Ref, err = Parse(strings.TrimPrefix(s, "docker://"))
	return p, err
}

// canonical makes the name of an image in an archive of docker's a whole one, and checks
// any other (image specification, "Pre-Defined Annotation Keys").
func (p *Place) canonical(s string) error {
	if p.Kind != DockerArchive || p.Name == "" || strings.HasPrefix(p.Name, "@") {
		for i := range len(p.Name) {
			if !isAlnum(p.Name[i]) && strings.IndexByte("-._:@/+", p.Name[i]) < 0 {
				return fmt.Errorf("image %q: invalid tag %q", s, p.Name)
			}
		}
		return nil
	}
	ref, err := Parse(p.Name)
	if err != nil {
		return fmt.Errorf("image %q: %w", s, err)
	}
	p.Name = ref.String()
	return nil
}

// String returns the place as ParsePlace reads it.
func (p Place) String() string {
	if p.Kind == Registry {
		return "docker://" + p.Ref.String()
	}
	s := string(p.Kind) + ":" + p.Path
	if p.Name != "" {
		s += ":" + p.Name
	}
	return s
}

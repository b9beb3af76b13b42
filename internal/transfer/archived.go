package transfer

import (
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/layout"
	"tare.dev/tare/internal/reference"
)

// Archived are the images of an archive, each once with all its names. Where they are listed by
// platform, those for other machines are left out.
func Archived(list []layout.Entry, choose func(v1.Index) (v1.Descriptor, error)) []layout.Entry {
	var all []layout.Entry
	for _, e := range list {
		names := FullNames(e.Names)
		if e.Platform != nil && e.Platform.Architecture != "" {
			if _, err := choose(v1.Index{Manifests: []v1.Descriptor{e.Descriptor}}); err != nil {
				continue
			}
		}
		n := slices.IndexFunc(all, func(o layout.Entry) bool { return o.Digest == e.Digest })
		if n < 0 {
			all = append(all, layout.Entry{Descriptor: e.Descriptor, Names: names})
			continue
		}
		for _, name := range names {
			if !slices.Contains(all[n].Names, name) {
				all[n].Names = append(all[n].Names, name)
			}
		}
	}
	return all
}

// FullNames are those that name an image and not only a tag of it, with what people leave out.
func FullNames(names []string) []string {
	var all []string
	for _, name := range names {
		r, err := reference.Parse(name)
		if err != nil || !strings.ContainsAny(name, "/:") || slices.Contains(all, r.String()) {
			continue
		}
		all = append(all, r.String())
	}
	return all
}

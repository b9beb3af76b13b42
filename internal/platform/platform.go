// Package platform is which images a machine can run, and which of those it runs best.
//
// A list of platforms is in order of preference, and all platforms in it are plain: they
// have a variant where the architecture has any ("amd64" is "amd64/v1").
package platform

import (
	"errors"
	"fmt"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Parse reads a platform as people type it, OS[/ARCH[/VARIANT]] or ARCH[/VARIANT], and
// returns it with all that a machine of that kind runs besides: linux/arm/v7 runs arm/v6
// and arm/v5 too.
func Parse(s string) ([]v1.Platform, error) {
	parts := strings.Split(strings.ToLower(s), "/")
	if parts[0] != "linux" {
		parts = append([]string{"linux"}, parts...)
	}
	for _, part := range parts {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != "" {
			return nil, fmt.Errorf("platform %q: want OS/ARCH or OS/ARCH/VARIANT", s)
		}
	}
	if len(parts) < 2 || len(parts) > 3 {
		return nil, fmt.Errorf("platform %q: want OS/ARCH or OS/ARCH/VARIANT", s)
	}
	p := v1.Platform{OS: "linux", Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return below(plain(p)), nil
}

// plain gives an architecture its usual name, and a variant if it has any.
func plain(p v1.Platform) v1.Platform {
	p.OS, p.Architecture, p.Variant = strings.ToLower(p.OS), strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "i386", "i486", "i586", "i686", "x86":
		p.Architecture = "386"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v5"
	}
	if p.Variant != "" && p.Variant[0] >= '0' && p.Variant[0] <= '9' {
		p.Variant = "v" + p.Variant
	}
	if p.Variant == "" {
		p.Variant = map[string]string{"amd64": "v1", "arm": "v7", "arm64": "v8"}[p.Architecture]
	}
	return v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}

// below returns a platform and the lower variants of its architecture, which it includes.
func below(p v1.Platform) []v1.Platform {
	lowest := map[string]byte{"amd64": '1', "arm": '5', "arm64": '8'}[p.Architecture]
	all := []v1.Platform{p}
	if lowest == 0 || len(p.Variant) != 2 || p.Variant[0] != 'v' {
		return all
	}
	for c := p.Variant[1] - 1; c >= lowest && c <= '9'; c-- {
		p.Variant = "v" + string(rune(c))
		all = append(all, p)
	}
	return all
}

// String returns a platform as Parse reads it: "linux/arm/v7".
func String(p v1.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Choose returns the manifest of an index that is for the first of the wanted platforms
// that the index has any for.
func Choose(index v1.Index, wanted []v1.Platform) (v1.Descriptor, error) {
	var images, nameless []v1.Descriptor
	for _, d := range index.Manifests {
		switch {
		case !isImage(d):
		case d.Platform == nil || d.Platform.Architecture == "":
			nameless = append(nameless, d)
		default:
			images = append(images, d)
		}
	}
	for _, want := range wanted {
		for _, d := range images {
			if same(plain(*d.Platform), want) {
				return d, nil
			}
		}
	}
	// An index of one image need not say for what it is; the image's config does.
	if len(images) == 0 && len(nameless) == 1 {
		return nameless[0], nil
	}
	if len(wanted) == 0 {
		return v1.Descriptor{}, errors.New("no platform is wanted")
	}
	return v1.Descriptor{}, fmt.Errorf("no image for %s; there are: %s", String(wanted[0]), list(images))
}

// isImage tells an image from what builders put beside it: attestations, whose platform
// is unknown, and artifacts that refer to an image.
func isImage(d v1.Descriptor) bool {
	if d.Annotations["vnd.docker.reference.type"] != "" {
		return false
	}
	return d.Platform == nil || d.Platform.OS != "unknown" && d.Platform.Architecture != "unknown"
}

func same(a, b v1.Platform) bool {
	return a.OS == b.OS && a.Architecture == b.Architecture && a.Variant == b.Variant
}

// list names the platforms of an index for a person.
func list(images []v1.Descriptor) string {
	const most = 20
	var all []string
	for _, d := range images {
		if len(all) == most {
			all = append(all, "...")
			break
		}
		// The index is a stranger's, and this goes to a terminal.
		all = append(all, strings.Trim(fmt.Sprintf("%+q", String(*d.Platform)), `"`))
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

package transfer

import (
	"errors"
	"slices"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/layout"
)

func TestArchivedImagesAreListedOnceWithAllNames(t *testing.T) {
	ours := &v1.Platform{OS: "linux", Architecture: "ours"}
	choose := func(x v1.Index) (v1.Descriptor, error) {
		if x.Manifests[0].Platform.Architecture != "ours" {
			return v1.Descriptor{}, errors.ErrUnsupported
		}
		return x.Manifests[0], nil
	}
	list := []layout.Entry{
		{Descriptor: v1.Descriptor{Digest: "a", Platform: ours}, Names: []string{"example.org/x:1", "1"}},
		{Descriptor: v1.Descriptor{Digest: "b", Platform: &v1.Platform{Architecture: "theirs"}}, Names: []string{"example.org/x:1"}},
		{Descriptor: v1.Descriptor{Digest: "a"}, Names: []string{"example.org/x:2", "example.org/x:1"}},
		{Descriptor: v1.Descriptor{Digest: "c"}, Names: []string{"latest"}},
	}
	got := Archived(list, choose)
	if len(got) != 2 || got[0].Digest != "a" || !slices.Equal(got[0].Names, []string{"example.org/x:1", "example.org/x:2"}) ||
		got[1].Digest != "c" || len(got[1].Names) != 0 {
		t.Errorf("Archived = %v", got)
	}
}

package imagecli

import (
	"errors"
	"runtime"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// chooser picks from an index what runs on a platform; "" is this machine's.
func chooser(string) (func(v1.Index) (v1.Descriptor, error), error) {
	return func(x v1.Index) (v1.Descriptor, error) {
		for _, d := range x.Manifests {
			if d.Platform != nil && d.Platform.OS == "linux" && d.Platform.Architecture == runtime.GOARCH {
				return d, nil
			}
		}
		return v1.Descriptor{}, errors.New("nothing for this machine")
	}, nil
}

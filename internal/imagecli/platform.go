package imagecli

import (
	"fmt"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"tare.dev/tare/internal/platform"
)

// chooser picks from an index what runs best on a platform; "" is this machine.
func chooser(name string) (func(v1.Index) (v1.Descriptor, error), error) {
	wanted := platform.Machine()
	if name != "" {
		var err error
		if wanted, err = platform.Parse(name); err != nil {
			return nil, fmt.Errorf("--%w", err)
		}
	}
	return func(x v1.Index) (v1.Descriptor, error) { return platform.Choose(x, wanted) }, nil
}

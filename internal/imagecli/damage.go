package imagecli

import (
	"fmt"
	"os"

	"tare.dev/tare/internal/store"
)

// damagedText stands in a table in place of an image's numbers.
const damagedText = `damaged: see "tare store verify"`

// mendable says how to go on after an error, where an image is damaged.
func mendable(st *store.Store, err error) error {
	if err == nil {
		return nil
	}
	images, _ := st.Images() // else err says why
	for _, i := range images {
		if !readable(st, i) {
			name := label(store.ImageUsage{Digest: i.Digest, Names: i.Names})
			return fmt.Errorf("%w (image %s is damaged: \"tare store repair\" fetches it again, \"tare rmi %s\" removes it)", err, name, name)
		}
	}
	return err
}

// readable tells whether an image's own files are good, and its packs there.
func readable(st *store.Store, i *store.Image) bool {
	if i.Check() != nil {
		return false
	}
	packs, err := i.Packs()
	if err != nil {
		return false
	}
	for _, d := range packs {
		if _, err := os.Stat(st.PackPath(d)); err != nil {
			return false
		}
	}
	return true
}

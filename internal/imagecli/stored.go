package imagecli

import (
	"errors"

	"tare.dev/tare/internal/instance"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

// whole holds an image with all its files, so that it can be read: it is not removed meanwhile, and
// its packs are mounted. It is let go with what became of the reading.
func (s *session) whole(st *store.Store, i *store.Image) (w transfer.Stored, let func(error) error, err error) {
	use, err := i.Use()
	if err != nil {
		return w, nil, err
	}
	m := s.mounter()
	let = func(err error) error { return errors.Join(err, use.Close(), instance.Release(m, i)) }
	packs, err := instance.MountPacks(m, st, i)
	if err != nil {
		return w, nil, let(err)
	}
	return transfer.Stored{Store: st, Image: i, Packs: packs}, let, nil
}

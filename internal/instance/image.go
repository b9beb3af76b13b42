package instance

import (
	"errors"

	"tare.dev/tare/internal/rootfs"
	"tare.dev/tare/internal/store"
)

// Release unmounts the tree of an image when no container uses it any more.
func Release(m *rootfs.Mounter, i *store.Image) error {
	l, ok, err := i.Alone()
	if err != nil || !ok {
		return err
	}
	defer l.Close()
	packs, err := i.FetchedPacks()
	if err != nil {
		packs = nil // it is damaged, and must be removable: what packs it had stays mounted until the next boot
	}
	errs := []error{m.Release(i.Digest.Encoded())}
	for _, d := range packs {
		errs = append(errs, m.ReleasePack(d.Encoded()))
	}
	return errors.Join(errs...)
}

// MountPacks mounts the packs an image was fetched in, and returns their directories of objects.
func MountPacks(m *rootfs.Mounter, st *store.Store, i *store.Image) ([]string, error) {
	packs, err := i.FetchedPacks()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, d := range packs {
		dir, err := m.Pack(d.Encoded(), st.PackPath(d))
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

// smallPacks is the packs of small files that are mounted with the tree of an image.
func smallPacks(st *store.Store, i *store.Image) ([]rootfs.Pack, error) {
	packs, err := i.SmallPacks()
	if err != nil {
		return nil, err
	}
	var all []rootfs.Pack
	for _, d := range packs {
		all = append(all, rootfs.Pack{Key: d.Encoded(), File: st.PackPath(d)})
	}
	return all, nil
}

package pack

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
)

// List calls visit for every object in a pack with its uncompressed size in bytes, sorted by
// digest. It reads names and sizes only. A pack with anything else in it is erofs.ErrCorrupt.
func List(im *erofs.Image, visit func(object.Digest, int64) error) error {
	return Files(im, func(d object.Digest, size int64, _ erofs.NID) error { return visit(d, size) })
}

// Files is List, and tells where each object is.
func Files(im *erofs.Image, visit func(object.Digest, int64, erofs.NID) error) error {
	return im.Walk(func(path string, nid erofs.NID, in *erofs.Inode) error {
		if path == "." || len(path) == 1 && in.Mode&unix.S_IFMT == unix.S_IFDIR {
			return nil
		}
		digest, err := object.Parse(strings.Replace(path, "/", "", 1))
		if err != nil || path != digest.Path() || in.Mode&unix.S_IFMT != unix.S_IFREG {
			return fmt.Errorf("%s, mode %#o, in a pack of objects: %w", path, in.Mode, erofs.ErrCorrupt)
		}
		return visit(digest, in.Size, nid)
	})
}

// Names calls visit for every object in a pack, sorted by digest. It reads directories only, so the size of
// an object, and whether it is a file at all, has yet to be seen.
func Names(im *erofs.Image, visit func(object.Digest, erofs.NID) error) error {
	digits, err := im.ReadDir(im.Root())
	if err != nil {
		return err
	}
	for _, digit := range digits {
		names, err := im.ReadDir(digit.NID)
		if err != nil {
			return err
		}
		for _, e := range names {
			d, err := object.Parse(digit.Name + e.Name)
			if err != nil || len(digit.Name) != 1 {
				return fmt.Errorf("%s/%s in a pack of objects: %w", digit.Name, e.Name, erofs.ErrCorrupt)
			}
			if err := visit(d, e.NID); err != nil {
				return err
			}
		}
	}
	return nil
}

// check makes sure that the image holds these objects and nothing else: what mkfs.erofs makes is
// shipped to devices.
func check(image string, objects []Object, sizes []int64) error {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	im, err := erofs.Open(f, info.Size())
	if err != nil {
		return fmt.Errorf("what %s made: %w", Mkfs, err)
	}
	i := 0
	err = List(im, func(digest object.Digest, size int64) error {
		if i == len(objects) || objects[i].Digest != digest || sizes[i] != size {
			return fmt.Errorf("object %s of %d bytes: %w", digest, size, erofs.ErrCorrupt)
		}
		i++
		return nil
	})
	if err == nil && i < len(objects) {
		err = fmt.Errorf("object %s is missing: %w", objects[i].Digest, erofs.ErrCorrupt)
	}
	if err != nil {
		return fmt.Errorf("what %s made: %w", Mkfs, err)
	}
	return nil
}

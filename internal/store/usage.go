package store

import (
	"os"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"

	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/order"
	"tare.dev/tare/internal/pack"

	"golang.org/x/sys/unix"
)

// Usage is what images take, in bytes of files' contents. Metadata is apart.
type Usage struct {
	Images []ImageUsage `json:"images"`
	// Shared is the bytes that two images have in common: Shared[i][j] of Images[i] and Images[j].
	Shared [][]int64 `json:"sharedBytes"`

	Logical int64 `json:"logicalBytes"` // what the images would take by themselves
	Unique  int64 `json:"uniqueBytes"`  // what they take here
	Trees   int64 `json:"treeBytes"`    // metadata, with the small files in it
	Packs   int64 `json:"packBytes"`    // compressed
	Garbage int64 `json:"garbageBytes"` // objects that no image refers to; 0 where an image cannot be read
	OnDisk  int64 `json:"onDiskBytes"`  // of the objects, packs and trees, in blocks of the file system

	fetched map[string]bool // files of packs that are compressed
	own     map[string]bool // and of those with small files that images are over
}

// ImageUsage is one image's.
type ImageUsage struct {
	Digest  digest.Digest `json:"digest"`
	Names   []string      `json:"names"`
	Logical int64         `json:"logicalBytes"`
	Own     int64         `json:"ownBytes"`    // no other image has them: free when it is removed
	Shared  int64         `json:"sharedBytes"` // with any other image
	Inline  int64         `json:"inlineBytes"` // small files, in the tree
	Tree    int64         `json:"treeBytes"`
	Packed  int64         `json:"packedBytes"`      // contents that are in packs
	Damage  string        `json:"damage,omitempty"` // why it cannot be read, and counts for nothing
}

// A reference is an object in an image.
type ref struct {
	item
	image int
}

// Usage measures the store.
func (s *Store) Usage() (Usage, error) {
	images, err := s.Images()
	if err != nil {
		return Usage{}, err
	}
	u := Usage{fetched: map[string]bool{}, own: map[string]bool{}, Images: make([]ImageUsage, len(images)), Shared: make([][]int64, len(images))}
	var refs []ref
	damaged := false
	for n, i := range images {
		u.Shared[n] = make([]int64, len(images))
		all, err := s.read(&u, n, i, refs)
		if err != nil && i.there() {
			u.Images[n] = ImageUsage{Digest: i.Digest, Names: i.Names, Damage: err.Error()}
			damaged = true
			continue
		}
		refs = all
	}
	order.By(refs, func(a, b ref) int {
		if c := compareItems(a.item, b.item); c != 0 {
			return c
		}
		return a.image - b.image
	})
	refs = slices.Compact(refs)
	u.share(refs)
	err = s.onDisk(&u, refs)
	if damaged {
		u.Garbage = 0 // what that image needs is not known
	}
	return u, err
}

// read adds the objects of one image to refs.
func (s *Store) read(u *Usage, n int, i *Image, refs []ref) ([]ref, error) {
	x := &u.Images[n]
	x.Digest, x.Names = i.Digest, i.Names
	t, err := i.Tree()
	if err != nil {
		return refs, err
	}
	defer t.Close()
	st, err := t.f.Stat()
	if err != nil {
		return refs, err
	}
	x.Tree = st.Size()
	u.Trees += st.Size()
	fetched, err := i.FetchedPacks()
	if err != nil {
		return refs, err
	}
	packed, err := s.inPacks(fetched)
	if err != nil {
		return refs, err
	}
	for _, d := range fetched {
		u.fetched[d.Encoded()+packSuffix] = true
	}
	own, err := i.SmallPacks()
	if err != nil {
		return refs, err
	}
	for _, d := range own {
		u.own[d.Encoded()+packSuffix] = true
	}
	seen := map[erofs.NID]bool{}
	return refs, t.Walk(func(_ string, nid erofs.NID, in *erofs.Inode) error {
		if in.Mode&unix.S_IFMT != unix.S_IFREG || in.Nlink > 1 && seen[nid] {
			return nil
		}
		if in.Nlink > 1 {
			seen[nid] = true
		}
		x.Logical += in.Size
		if in.Redirect == "" {
			x.Inline += in.Size
			return nil
		}
		d, err := object.ParseRedirect(in.Redirect)
		if packed.has(d) {
			x.Packed += in.Size
			return err
		}
		refs = append(refs, ref{item{d, in.Size}, n})
		return err
	})
}

// share adds up what images have in common. refs is sorted by object.
func (u *Usage) share(refs []ref) {
	for len(refs) > 0 {
		n := 1
		for n < len(refs) && refs[n].digest == refs[0].digest {
			n++
		}
		size := refs[0].size
		u.Unique += size
		for a := range refs[:n] {
			x := &u.Images[refs[a].image]
			if n == 1 {
				x.Own += size
			} else {
				x.Shared += size
			}
			for b := range refs[:n] {
				u.Shared[refs[a].image][refs[b].image] += size
			}
		}
		refs = refs[n:]
	}
	for _, x := range u.Images {
		u.Logical += x.Logical
		u.Unique += x.Inline
	}
}

// onDisk adds up blocks, and what gc would free.
func (s *Store) onDisk(u *Usage, refs []ref) error {
	u.OnDisk = u.Trees
	packs, err := os.ReadDir(s.path("packs"))
	if err != nil {
		return err
	}
	for _, e := range packs {
		info, err := e.Info()
		if err != nil {
			continue
		}
		u.OnDisk += info.Size()
		if u.fetched[e.Name()] {
			u.Packs += info.Size()
			u.Unique += info.Size()
		} else {
			s.garbage(u, e.Name(), info.Size(), refs)
		}
	}
	return s.objects.All(func(d object.Digest, size int64) error {
		blocks, err := s.objects.Blocks(d)
		if err != nil {
			return err
		}
		u.OnDisk += blocks
		if !refersTo(refs, d) {
			u.Garbage += size
		}
		return nil
	})
}

// garbage adds what no image needs of a pack of small files: all of it, when
// none is mounted over it. A damaged one is verify's business.
func (s *Store) garbage(u *Usage, name string, size int64, refs []ref) {
	d := digest.NewDigestFromEncoded(digest.SHA256, strings.TrimSuffix(name, packSuffix))
	if !u.own[name] {
		u.Garbage += size
		return
	}
	dead := int64(0)
	_ = s.openPack(d, func(im *erofs.Image) error {
		return pack.List(im, func(o object.Digest, size int64) error {
			if !refersTo(refs, o) {
				dead += size
			}
			return nil
		})
	})
	u.Garbage += dead
}

func refersTo(refs []ref, d object.Digest) bool {
	_, used := slices.BinarySearchFunc(refs, d, func(r ref, d object.Digest) int { return compareItems(r.item, item{digest: d}) })
	return used
}

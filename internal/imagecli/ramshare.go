package imagecli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	digest "github.com/opencontainers/go-digest"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/rootfs"
	"tare.dev/tare/internal/store"
)

// ramUse is how much of an image is in memory.
type ramUse struct {
	Digest   digest.Digest `json:"digest"`
	Names    []string      `json:"names"`
	Resident int64         `json:"residentBytes"` // pages of its files in the page cache
	Shared   int64         `json:"sharedBytes"`   // of them, those that another image has, too
	Damage   string        `json:"damage,omitempty"`
}

type ramShare struct {
	Images   []ramUse `json:"images"`
	Resident int64    `json:"residentBytes"` // of all objects, each once
	Sum      int64    `json:"sumBytes"`      // of all images, each by itself
}

const ramshareLong = `Show how much of each image is in the page cache, and how much of that another image has, too: a file that
several images have is there once. SAVED is what the images would take more if each had its own.`

func ramshareCommand(s *session) cli.Command {
	var asJSON bool
	return cli.Command{
		Name: "ramshare", Short: "show what images share in memory", Long: ramshareLong,
		Flags: func(f *cli.Flags) { f.Bool(&asJSON, "json", "", "print JSON") },
		Run: s.onStore(func(c *cli.Call, st *store.Store) error {
			r, err := s.measureRAM(st)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.Out).Encode(r)
			}
			w := tabwriter.NewWriter(c.Out, 0, 8, 3, ' ', tabwriter.AlignRight)
			fmt.Fprintln(w, "IMAGE\tIN MEMORY\tSHARED\t")
			for _, u := range r.Images {
				if u.Damage != "" {
					fmt.Fprintf(w, "%s\t%s\t-\t\n", label(store.ImageUsage{Digest: u.Digest, Names: u.Names}), damagedText)
					continue
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t\n", label(store.ImageUsage{Digest: u.Digest, Names: u.Names}), size(u.Resident), size(u.Shared))
			}
			if err := w.Flush(); err != nil {
				return err
			}
			fmt.Fprintf(c.Out, "\nin memory %s, saved %s\n", size(r.Resident), size(r.Sum-r.Resident))
			return nil
		}),
	}
}

// A page cache has a file for each place a file is read from.
type cachedFile struct {
	object object.Digest
	dir    string // of objects: the store's, or where a pack is mounted
}

// cached is how much of one is in memory, and how many images have it.
type cached struct {
	bytes  int64
	images int
}

type ramMeasure struct {
	store   *store.Store
	mounter *rootfs.Mounter
	all     map[cachedFile]*cached
}

func (s *session) measureRAM(st *store.Store) (ramShare, error) {
	var r ramShare
	images, err := st.Images()
	if err != nil {
		return r, err
	}
	m := ramMeasure{st, s.mounter(), map[cachedFile]*cached{}}
	resident := make([][]*cached, len(images))
	for n, i := range images {
		u := ramUse{Digest: i.Digest, Names: i.Names}
		if resident[n], err = m.image(i); err != nil {
			u.Damage = err.Error() // the others can be read
		}
		r.Images = append(r.Images, u)
	}
	for n := range r.Images {
		u := &r.Images[n]
		for _, c := range resident[n] {
			u.Resident += c.bytes
			if c.images > 1 {
				u.Shared += c.bytes
			}
		}
		r.Sum += u.Resident
	}
	for _, c := range m.all {
		r.Resident += c.bytes
	}
	return r, nil
}

// image is what of an image's files is in memory.
func (m *ramMeasure) image(i *store.Image) ([]*cached, error) {
	dirs := []string{m.store.Objects().Path()}
	packs, err := i.Packs()
	if err != nil {
		return nil, err
	}
	for _, p := range packs {
		dirs = append(dirs, m.mounter.PackDirs(p.Encoded())...)
	}
	var some []*cached
	seen := map[object.Digest]bool{}
	return some, i.Objects(func(_ string, d object.Digest, _ int64) error {
		if seen[d] {
			return nil
		}
		seen[d] = true
		c, err := m.file(d, dirs)
		if c != nil {
			c.images++
			some = append(some, c)
		}
		return err
	})
}

// file finds a file where it is read from: nil when it is in a pack that is not mounted.
func (m *ramMeasure) file(d object.Digest, dirs []string) (*cached, error) {
	for _, dir := range dirs {
		key := cachedFile{d, dir}
		if c := m.all[key]; c != nil {
			return c, nil
		}
		f, err := os.Open(filepath.Join(dir, d.Path()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		defer f.Close()
		bytes, err := object.Resident(f)
		if err != nil {
			return nil, err
		}
		m.all[key] = &cached{bytes: bytes}
		return m.all[key], nil
	}
	return nil, nil
}

package imagecli

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	digest "github.com/opencontainers/go-digest"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/object"
	"tare.dev/tare/internal/store"
)

// ramUse is how much of an image is in memory.
type ramUse struct {
	Digest   digest.Digest `json:"digest"`
	Names    []string      `json:"names"`
	Resident int64         `json:"residentBytes"` // pages of its files in the page cache
	Shared   int64         `json:"sharedBytes"`   // of them, those that another image has, too
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
			r, err := measureRAM(st)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.Out).Encode(r)
			}
			w := tabwriter.NewWriter(c.Out, 0, 8, 3, ' ', tabwriter.AlignRight)
			fmt.Fprintln(w, "IMAGE\tIN MEMORY\tSHARED\t")
			for _, u := range r.Images {
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

// cached is one object in memory, and how many images have it.
type cached struct {
	bytes  int64
	images int
}

func measureRAM(st *store.Store) (ramShare, error) {
	var r ramShare
	images, err := st.Images()
	if err != nil {
		return r, err
	}
	all := map[object.Digest]*cached{}
	perImage := make([][]object.Digest, len(images))
	for n, i := range images {
		seen := map[object.Digest]bool{}
		err := i.Objects(func(_ string, d object.Digest, _ int64) error {
			if seen[d] {
				return nil
			}
			seen[d] = true
			if all[d] == nil {
				bytes, err := st.Objects().Resident(d)
				if err != nil {
					return err
				}
				all[d] = &cached{bytes: bytes}
				r.Resident += bytes
			}
			all[d].images++
			if all[d].bytes > 0 {
				perImage[n] = append(perImage[n], d)
			}
			return nil
		})
		if err != nil {
			return r, err
		}
	}
	for n, i := range images {
		u := ramUse{Digest: i.Digest, Names: i.Names}
		for _, d := range perImage[n] {
			u.Resident += all[d].bytes
			if all[d].images > 1 {
				u.Shared += all[d].bytes
			}
		}
		r.Sum += u.Resident
		r.Images = append(r.Images, u)
	}
	return r, nil
}

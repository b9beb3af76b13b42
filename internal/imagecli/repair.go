package imagecli

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/store"
	"tare.dev/tare/internal/transfer"
)

const repairLong = `Find damaged files as "tare store verify" does, and put good ones in their place: from directories
given with --from (another store, a base system, a USB stick), then from where the images came from.
Only damaged files are written; running containers go on.`

// local is the registry in the names of images that are at none: of adopted base systems.
const local = "tare.local"

type repair struct {
	registries
	from    []string
	sources []string
	json    bool
}

func repairCommand(s *session) cli.Command {
	var r repair
	return cli.Command{
		Name: "repair", Short: "fetch damaged files again", Long: repairLong,
		Flags: func(f *cli.Flags) {
			r.registries.flags(f)
			f.Strings(&r.from, "from", "", "look for the files in this `DIR` first; may be given again")
			f.Strings(&r.sources, "source", "", "look for them in this `IMAGE`, wherever it is; may be given again")
			f.Bool(&r.json, "json", "", "print JSON")
		},
		Run: func(c *cli.Call) error { return r.run(s, c) },
	}
}

// repaired is what repair --json prints.
type repaired struct {
	Damaged int   `json:"damaged"`
	Fixed   int   `json:"fixed"`
	Fetched int64 `json:"fetchedBytes"`
}

func (r *repair) run(s *session, c *cli.Call) error {
	work()
	ctx, cancel := interruptible()
	defer cancel()
	st, err := s.open()
	if err != nil {
		return err
	}
	defer st.Close()
	report, err := s.verify(c, st, "")
	if err != nil {
		return err
	}
	out := repaired{Damaged: len(report.Damaged)}
	if out.Damaged > 0 {
		if err := r.mend(ctx, c, st, report, &out); err != nil {
			return err
		}
	}
	if r.json {
		err = json.NewEncoder(c.Out).Encode(out)
	} else {
		fmt.Fprintf(c.Out, "%d damaged, %d repaired, fetched %s\n", out.Damaged, out.Fixed, size(out.Fetched))
	}
	if err == nil && out.Fixed < out.Damaged {
		return errStillDamaged
	}
	return err
}

func (r *repair) mend(ctx context.Context, c *cli.Call, st *store.Store, report store.Report, out *repaired) error {
	for _, d := range report.Damaged {
		if d.Name != "" {
			continue
		}
		if err := r.again(ctx, st, d.Uses[0], out); err != nil {
			fmt.Fprintln(c.Err, err)
		}
	}
	fix, err := st.Repair(report.Damaged)
	if err != nil {
		return err
	}
	for _, dir := range r.from {
		if err := transfer.RepairFromDir(ctx, fix, dir); err != nil {
			fmt.Fprintln(c.Err, err) // the next place may do
		}
	}
	for _, p := range r.places(report) {
		if fix.Left() == 0 || ctx.Err() != nil {
			break
		}
		n, err := r.fetch(ctx, p, fix)
		out.Fetched += n
		if err != nil {
			fmt.Fprintln(c.Err, err)
		}
	}
	err = fix.Close()
	out.Fixed += fix.Fixed()
	return err
}

// again fetches a whole image of which the metadata is damaged. Its objects are there, so little is
// written.
func (r *repair) again(ctx context.Context, st *store.Store, u store.Use, out *repaired) error {
	for _, name := range u.Names {
		ref, err := reference.Parse(name)
		if err != nil {
			continue
		}
		if ref.Registry == local {
			return fmt.Errorf("repair image %s: no registry has it: adopt the base system again", name)
		}
		ref.Tag, ref.Digest = "", u.Image
		src, err := r.source(ref.String(), func(string) {})
		if err != nil {
			return err
		}
		got, err := transfer.Pull(ctx, src.Source, src.name, st, transfer.PullOptions{Again: true})
		src.close()
		if err == nil {
			out.Fixed++
			out.Fetched += got.Fetched
			return nil
		}
		return fmt.Errorf("repair image %s: %w", name, err)
	}
	return fmt.Errorf("repair image %s: it has no name to fetch it by", u.Image)
}

// places is where damaged objects may be had: what the user names, then where their images
// came from. Each is a source and the image there.
func (r *repair) places(report store.Report) []string {
	all := append([]string{}, r.sources...)
	seen := map[string]bool{}
	for _, d := range report.Damaged {
		if d.Name == "" {
			continue
		}
		for _, u := range d.Uses {
			for _, name := range u.Names {
				ref, err := reference.Parse(name)
				if err != nil || ref.Registry == local {
					continue
				}
				ref.Tag, ref.Digest = "", u.Image
				if key := ref.String(); !seen[key] {
					seen[key] = true
					all = append(all, key)
				}
			}
		}
	}
	return all
}

func (r *repair) fetch(ctx context.Context, place string, fix *store.Repair) (int64, error) {
	src, err := r.source(place, func(string) {})
	if err != nil {
		return 0, err
	}
	defer src.close()
	choose, err := chooser("")
	if err != nil {
		return 0, err
	}
	n, err := transfer.RepairFrom(ctx, src.Source, src.name, choose, fix)
	if err != nil {
		return n, fmt.Errorf("repair from %s: %w", filepath.Clean(place), err)
	}
	return n, nil
}

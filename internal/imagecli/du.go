package imagecli

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/store"
)

const duLong = `Show what the images take. LOGICAL is the contents of an image's files; OWN is what removing it
would free; SHARED is what other images have, too; INLINE is small files that stand in the metadata;
IN PACKS is files that are kept compressed, as long as they are uncompressed.
With --pairs, show what each two images have in common.`

func duCommand(s *session) cli.Command {
	var asJSON, pairs bool
	return cli.Command{
		Name: "du", Short: "show what images take, and what they share", Long: duLong,
		Flags: func(f *cli.Flags) {
			f.Bool(&asJSON, "json", "", "print JSON")
			f.Bool(&pairs, "pairs", "", "show what each two images share")
		},
		Run: s.onStore(func(c *cli.Call, st *store.Store) error {
			u, err := st.Usage()
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				return json.NewEncoder(c.Out).Encode(u)
			case pairs:
				return pairTable(c, u)
			}
			return usageTable(c, u)
		}),
	}
}

func usageTable(c *cli.Call, u store.Usage) error {
	w := tabwriter.NewWriter(c.Out, 0, 8, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "IMAGE\tLOGICAL\tOWN\tSHARED\tINLINE\tIN PACKS\tMETADATA\t")
	for _, i := range u.Images {
		if i.Damage != "" {
			fmt.Fprintf(w, "%s\t%s\t-\t-\t-\t-\t-\t\n", label(i), damagedText)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", label(i), size(i.Logical), size(i.Own), size(i.Shared),
			size(i.Inline), size(i.Packed), size(i.Tree))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "\nlogical %s, unique %s", size(u.Logical), size(u.Unique))
	if u.Logical > 0 {
		fmt.Fprintf(c.Out, " (%d%%)", (u.Unique*100+u.Logical/2)/u.Logical)
	}
	fmt.Fprintf(c.Out, "; on disk %s", size(u.OnDisk))
	if u.Garbage > 0 {
		fmt.Fprintf(c.Out, ", of which \"tare store gc\" frees %s", size(u.Garbage))
	}
	fmt.Fprintln(c.Out)
	return nil
}

func pairTable(c *cli.Call, u store.Usage) error {
	w := tabwriter.NewWriter(c.Out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tAND\tSHARE\tOF THE FIRST\tOF THE SECOND")
	for a := range u.Images {
		for b := a + 1; b < len(u.Images); b++ {
			n := u.Shared[a][b]
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", label(u.Images[a]), label(u.Images[b]), size(n),
				percent(n, u.Images[a].Logical), percent(n, u.Images[b].Logical))
		}
	}
	return w.Flush()
}

func percent(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%d%%", (part*100+whole/2)/whole)
}

func label(i store.ImageUsage) string {
	if len(i.Names) == 0 {
		return i.Digest.Encoded()[:12]
	}
	return familiar(i.Names[0])
}

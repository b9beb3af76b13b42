package imagecli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/erofs"
	"tare.dev/tare/internal/reference"
	"tare.dev/tare/internal/store"
)

// listed is an image as images --json prints it.
type listed struct {
	Names   []string   `json:"names"`
	Digest  string     `json:"digest"`
	Created *time.Time `json:"created,omitempty"`
	Files   int        `json:"files"`
	Size    int64      `json:"sizeBytes"` // of the regular files' contents
	Damage  string     `json:"damage,omitempty"`
}

func imagesCommand(s *session) cli.Command {
	var l listing
	return cli.Command{
		Name:  "images",
		Short: "list the images in the store",
		Flags: func(f *cli.Flags) { l.flags(f, "digests") },
		Run: s.onStore(func(c *cli.Call, st *store.Store) error {
			all, err := st.Images()
			if err != nil {
				return err
			}
			if l.quiet {
				var names []string
				for _, i := range all {
					names = append(names, i.Digest.String())
				}
				return l.names(c.Out, names)
			}
			list := listImages(st, all)
			if l.json {
				return json.NewEncoder(c.Out).Encode(list)
			}
			return imageTable(c, list)
		}),
	}
}

// listImages describes images. One that cannot be read is listed, too, or nobody would find its name.
func listImages(st *store.Store, all []*store.Image) []listed {
	list := make([]listed, 0, len(all))
	for _, i := range all {
		l, err := describe(i)
		if err != nil {
			if _, missing := st.Image(i.Digest); errors.Is(missing, store.ErrNotFound) {
				continue // another command has removed it meanwhile
			}
			l.Damage = err.Error()
		}
		list = append(list, l)
	}
	return list
}

func describe(i *store.Image) (listed, error) {
	l := listed{Names: i.Names, Digest: i.Digest.String()}
	if l.Names == nil {
		l.Names = []string{}
	}
	config, _, err := i.Config()
	if err != nil {
		return l, err
	}
	l.Created = config.Created
	t, err := i.Tree()
	if err != nil {
		return l, err
	}
	defer t.Close()
	seen := map[erofs.NID]bool{} // files of several names
	return l, t.Walk(func(_ string, nid erofs.NID, in *erofs.Inode) error {
		if in.Mode&unix.S_IFMT != unix.S_IFREG || in.Nlink > 1 && seen[nid] {
			return nil
		}
		if in.Nlink > 1 {
			seen[nid] = true
		}
		l.Files++
		l.Size += in.Size
		return nil
	})
}

func imageTable(c *cli.Call, list []listed) error {
	w := tabwriter.NewWriter(c.Out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tDIGEST\tCREATED\tFILES\tSIZE")
	for _, l := range list {
		names := l.Names
		if len(names) == 0 {
			names = []string{"<none>"}
		}
		created := "-"
		if l.Created != nil {
			created = l.Created.UTC().Format("2006-01-02 15:04")
		}
		files, bytes := strconv.Itoa(l.Files), size(l.Size)
		if l.Damage != "" {
			files, bytes = "-", damagedText
		}
		for _, name := range names {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", familiar(name), l.Digest[7:19], created, files, bytes)
		}
	}
	return w.Flush()
}

// familiar is a name as people type it.
func familiar(name string) string {
	r, err := reference.Parse(name)
	if err != nil {
		return name
	}
	return r.Familiar()
}

// find finds an image by what a person typed.
func find(st *store.Store, arg string) (*store.Image, error) {
	if r, err := reference.Parse(arg); err == nil {
		if i, err := st.Find(r.String()); err == nil {
			return i, nil
		}
	}
	return st.Find(arg)
}

func tagCommand(s *session) cli.Command {
	return cli.Command{
		Name: "tag", Args: "IMAGE NAME", MinArgs: 2, MaxArgs: 2,
		Short: "give an image a further name",
		Run: func(c *cli.Call) error {
			r, err := reference.Parse(c.Args[1])
			if err != nil {
				return err
			}
			if r.Digest != "" {
				return fmt.Errorf("tag %s: a name with a digest is what it is", c.Args[1])
			}
			st, err := s.open()
			if err != nil {
				return err
			}
			defer st.Close()
			i, err := find(st, c.Args[0])
			if err != nil {
				return err
			}
			return st.Tag(i, r.String())
		},
	}
}

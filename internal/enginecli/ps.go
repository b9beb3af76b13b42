package enginecli

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/cli"
)

type ps struct {
	all, quiet, json, whole bool
	last                    int
	filters                 filterFlag
}

func psCommand(s *session) cli.Command {
	p := ps{filters: filterFlag{}}
	return cli.Command{
		Name: "ps", Short: "list containers",
		Flags: func(f *cli.Flags) {
			f.Bool(&p.all, "all", "a", "those that do not run, too")
			f.Bool(&p.quiet, "quiet", "q", "print the ids alone")
			f.Bool(&p.json, "json", "", "print JSON")
			f.Bool(&p.whole, "no-trunc", "", "print all of ids and commands")
			f.Int(&p.last, "last", "n", "the `NUMBER` made last, running or not")
			f.Func(p.filters.add, "filter", "f", "only those with `KEY=VALUE`: name, label, status, health, ancestor, ...; may be given again")
		},
		Run: func(c *cli.Call) error { return p.run(s, c) },
	}
}

func (p *ps) run(s *session, c *cli.Call) error {
	ctx, cancel := interruptible()
	defer cancel()
	q := url.Values{}
	if p.all {
		q.Set("all", "1")
	}
	if p.last > 0 {
		q.Set("limit", strconv.Itoa(p.last))
	}
	if f := p.filters.encode(); f != "" {
		q.Set("filters", f)
	}
	list := []container.Summary{}
	if err := s.client().get(ctx, "/containers/json", q, &list); err != nil {
		return err
	}
	switch {
	case p.json:
		return printJSON(c.Out, list)
	case p.quiet:
		for _, one := range list {
			fmt.Fprintln(c.Out, p.id(one.ID))
		}
		return nil
	}
	w := table(c.Out)
	fmt.Fprintln(w, "CONTAINER\tIMAGE\tCOMMAND\tCREATED\tSTATUS\tPORTS\tNAME")
	for i := range list {
		one := &list[i]
		width := 24
		if p.whole {
			width = 0
		}
		made := ago(time.Since(time.Unix(one.Created, 0)))
		if made != "now" {
			made += " ago"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.id(one.ID), imageText(one.Image),
			harmless(one.Command, width), made, one.Status, portsText(one.Ports), nameOf(one.Names))
	}
	return w.Flush()
}

func (p *ps) id(id string) string {
	if p.whole {
		return id
	}
	return short(id)
}

// imageText is an image's name, or the beginning of its digest.
func imageText(name string) string {
	if strings.HasPrefix(name, "sha256:") {
		return short(name)
	}
	return name
}

func nameOf(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.TrimPrefix(names[0], "/")
}

// portsText is the published ports as they were asked for. An address of each family stands for all of
// them, so that they are shown once.
func portsText(ports []container.PortSummary) string {
	var all []string
	for _, p := range ports {
		text := fmt.Sprintf("%d/%s", p.PrivatePort, p.Type)
		if p.PublicPort != 0 {
			at := strconv.Itoa(int(p.PublicPort))
			if p.IP.IsValid() && !p.IP.IsUnspecified() {
				at = netip.AddrPortFrom(p.IP, p.PublicPort).String()
			}
			text = at + "->" + text
		}
		if !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

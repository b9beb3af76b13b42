package enginecli

import (
	"fmt"
	"net/netip"
	"strconv"

	"tare.dev/tare/internal/cli"
	"tare.dev/tare/internal/engine"
)

const linksLong = `List who reaches whom: each line is connections that the first may open to the second, and the rule
that lets it. What is not listed is closed, but for programs of the host itself, which reach all.

In a network made with --opt dev.tare.links=declared only those containers reach others whose label says so:
--label dev.tare.links="db:5432/tcp, cache:6379".`

func linksCommand(s *session) cli.Command {
	var asJSON bool
	return cli.Command{
		Name: "links", Short: "list which containers reach which", Long: linksLong,
		Flags: func(f *cli.Flags) { f.Bool(&asJSON, "json", "", "print JSON") },
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			all := []engine.Reach{}
			if err := s.client().get(ctx, "/tare/links", nil, &all); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.Out, all)
			}
			w := table(c.Out)
			fmt.Fprintln(w, "FROM\tTO\tPORTS\tAT\tNETWORK\tRULE")
			for i := range all {
				r := &all[i]
				from := r.From
				if r.FromID == "" {
					from = "(" + from + ")"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", from, r.To, reachedPorts(r), reachedAt(r), r.Network, r.Rule)
			}
			return w.Flush()
		},
	}
}

// reachedPorts is such as 80/tcp, 5000-5010/udp, tcp, all.
func reachedPorts(r *engine.Reach) string {
	switch {
	case r.Port == 0 && r.Proto == "":
		return "all"
	case r.Port == 0:
		return r.Proto
	}
	text := strconv.Itoa(int(r.Port))
	if r.End > r.Port {
		text += "-" + strconv.Itoa(int(r.End))
	}
	return text + "/" + r.Proto
}

// reachedAt is the address that connections are opened to.
func reachedAt(r *engine.Reach) string {
	switch {
	case r.Host != 0 && !r.Address.IsValid():
		return "*:" + strconv.Itoa(int(r.Host))
	case r.Host != 0:
		return netip.AddrPortFrom(r.Address, r.Host).String()
	case r.Address.IsValid():
		return r.Address.String()
	}
	return "-"
}

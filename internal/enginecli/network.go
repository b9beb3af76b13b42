package enginecli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/moby/moby/api/types/network"

	"tare.dev/tare/internal/cli"
)

func networkCommand(s *session) cli.Command {
	return cli.Command{
		Name: "network", Short: "make, list, join and remove networks",
		Long: "A network lets containers reach each other by name. Containers of different networks do not.",
		Sub: []cli.Command{
			networkLs(s), networkCreate(s), networkInspect(s), networkRm(s), networkConnect(s), networkDisconnect(s), networkPrune(s),
		},
	}
}

func networkLs(s *session) cli.Command {
	var asJSON, quiet bool
	filters := filterFlag{}
	return cli.Command{
		Name: "ls", Short: "list networks",
		Flags: func(f *cli.Flags) {
			f.Bool(&asJSON, "json", "", "print JSON")
			f.Bool(&quiet, "quiet", "q", "print the ids alone")
			f.Func(filters.add, "filter", "f", "only those with `KEY=VALUE`: name, driver, label, ...; may be given again")
		},
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			q := url.Values{}
			if f := filters.encode(); f != "" {
				q.Set("filters", f)
			}
			all := []network.Inspect{}
			if err := s.client().get(ctx, "/networks", q, &all); err != nil {
				return err
			}
			switch {
			case asJSON:
				return printJSON(c.Out, all)
			case quiet:
				for _, n := range all {
					fmt.Fprintln(c.Out, short(n.ID))
				}
				return nil
			}
			w := table(c.Out)
			fmt.Fprintln(w, "NETWORK\tNAME\tDRIVER\tSUBNET\tOUTSIDE")
			for _, n := range all {
				outside := "yes"
				if n.Internal || n.Driver == "null" {
					outside = "no"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", short(n.ID), n.Name, n.Driver, subnets(n.IPAM), outside)
			}
			return w.Flush()
		},
	}
}

func subnets(i network.IPAM) string {
	var all []string
	for _, c := range i.Config {
		all = append(all, c.Subnet.String())
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, ", ")
}

func networkCreate(s *session) cli.Command {
	var subnet, gateway, ipRange string
	var ipv6 bool
	var options, labels []string
	req := network.CreateRequest{Driver: "bridge"}
	return cli.Command{
		Name: "create", Args: "NAME", MinArgs: 1, MaxArgs: 1, Short: "make a network",
		Flags: func(f *cli.Flags) {
			f.String(&req.Driver, "driver", "d", "bridge or macvlan: `HOW` it is made")
			f.String(&subnet, "subnet", "", "`ADDRESS/BITS` it has; chosen unless given")
			f.String(&gateway, "gateway", "", "`ADDRESS` of the host in it; chosen unless given")
			f.String(&ipRange, "ip-range", "", "`ADDRESS/BITS` of the subnet that containers get")
			f.Bool(&ipv6, "ipv6", "", "with IPv6, too")
			f.Bool(&req.Internal, "internal", "", "with no way out")
			f.Strings(&options, "opt", "o", "`KEY=VALUE` for the driver; may be given again")
			f.Strings(&labels, "label", "l", "`KEY=VALUE` to know it by; may be given again")
		},
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			req.Name, req.Options, req.Labels = c.Args[0], pairsOf(options), pairsOf(labels)
			if ipv6 {
				req.EnableIPv6 = &ipv6
			}
			var err error
			if req.IPAM, err = ipam(subnet, ipRange, gateway); err != nil {
				return err
			}
			var made network.CreateResponse
			if err := s.client().do(ctx, http.MethodPost, "/networks/create", nil, req, &made); err != nil {
				return err
			}
			fmt.Fprintln(c.Out, made.ID)
			return nil
		},
	}
}

// ipam is the addresses that were asked for; nil: none were.
func ipam(subnet, ipRange, gateway string) (*network.IPAM, error) {
	if subnet == "" && ipRange == "" && gateway == "" {
		return nil, nil
	}
	var c network.IPAMConfig
	var err1, err2, err3 error
	if subnet != "" {
		c.Subnet, err1 = netip.ParsePrefix(subnet)
	}
	if ipRange != "" {
		c.IPRange, err2 = netip.ParsePrefix(ipRange)
	}
	if gateway != "" {
		c.Gateway, err3 = netip.ParseAddr(gateway)
	}
	return &network.IPAM{Config: []network.IPAMConfig{c}}, errors.Join(err1, err2, err3)
}

// pairsOf makes KEY=VALUE a map.
func pairsOf(list []string) map[string]string {
	all := map[string]string{}
	for _, one := range list {
		key, value, _ := strings.Cut(one, "=")
		all[key] = value
	}
	return all
}

func networkInspect(s *session) cli.Command {
	return cli.Command{
		Name: "inspect", Args: "NETWORK...", MinArgs: 1, MaxArgs: cli.Many, Short: "print JSON about networks",
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			all := []network.Inspect{}
			var errs []error
			for _, name := range c.Args {
				var one network.Inspect
				err := s.client().get(ctx, "/networks/"+name, nil, &one)
				if err == nil {
					all = append(all, one)
				}
				errs = append(errs, err)
			}
			return errors.Join(append(errs, printIndented(c.Out, all))...)
		},
	}
}

func networkRm(s *session) cli.Command {
	return cli.Command{
		Name: "rm", Args: "NETWORK...", MinArgs: 1, MaxArgs: cli.Many, Short: "remove networks",
		Run: func(c *cli.Call) error {
			return each(c, func(ctx context.Context, name string) error {
				return s.client().do(ctx, http.MethodDelete, "/networks/"+name, nil, nil, nil)
			})
		},
	}
}

func networkConnect(s *session) cli.Command {
	var aliases []string
	ip := ""
	return cli.Command{
		Name: "connect", Args: "NETWORK CONTAINER", MinArgs: 2, MaxArgs: 2, Short: "put a container in a further network",
		Flags: func(f *cli.Flags) {
			f.Strings(&aliases, "alias", "", "further `NAME` there; may be given again")
			f.String(&ip, "ip", "", "its `ADDRESS` there")
		},
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			req := network.ConnectRequest{Container: c.Args[1], EndpointConfig: &network.EndpointSettings{Aliases: aliases}}
			if ip != "" {
				at, err := netip.ParseAddr(ip)
				if err != nil {
					return fmt.Errorf("--ip: %w", err)
				}
				req.EndpointConfig.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: at}
			}
			return s.client().do(ctx, http.MethodPost, "/networks/"+c.Args[0]+"/connect", nil, req, nil)
		},
	}
}

func networkDisconnect(s *session) cli.Command {
	var force bool
	return cli.Command{
		Name: "disconnect", Args: "NETWORK CONTAINER", MinArgs: 2, MaxArgs: 2, Short: "take a container out of a network",
		Flags: func(f *cli.Flags) { f.Bool(&force, "force", "f", "one that is not there is no error") },
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			req := network.DisconnectRequest{Container: c.Args[1], Force: force}
			return s.client().do(ctx, http.MethodPost, "/networks/"+c.Args[0]+"/disconnect", nil, req, nil)
		},
	}
}

func networkPrune(s *session) cli.Command {
	return cli.Command{
		Name: "prune", Short: "remove networks that no container is in",
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			var report network.PruneReport
			if err := s.client().do(ctx, http.MethodPost, "/networks/prune", nil, nil, &report); err != nil {
				return err
			}
			for _, name := range report.NetworksDeleted {
				fmt.Fprintln(c.Out, name)
			}
			return nil
		},
	}
}

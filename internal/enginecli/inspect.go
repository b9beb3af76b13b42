package enginecli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/cli"
)

const inspectLong = `Print what is known of containers, images, volumes and networks as a JSON list, in the fields of docker
inspect. Without an engine that answers, only of images.`

func inspectCommand(s *session) cli.Command {
	kind := ""
	return cli.Command{
		Name: "inspect", Args: "NAME...", MinArgs: 1, MaxArgs: cli.Many, Short: "print all about containers or images as JSON",
		Long: inspectLong,
		Flags: func(f *cli.Flags) {
			f.String(&kind, "type", "", "container, image, volume or network: `WHAT` the names are of")
		},
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			if !s.client().answers(ctx) && s.local("inspect") != nil && !c.Given("type") {
				return s.fallBack("inspect", c, errNoEngine)
			}
			kinds := []string{"container", "image", "volume", "network"}
			if kind != "" {
				if !slices.Contains(kinds, kind) {
					return c.Usagef("--type %s: want one of %s", kind, strings.Join(kinds, ", "))
				}
				kinds = []string{kind}
			}
			all := []json.RawMessage{}
			var errs []error
			for _, name := range c.Args {
				one, err := s.inspectAny(ctx, kinds, name)
				if err == nil {
					all = append(all, one)
				}
				errs = append(errs, err)
			}
			return errors.Join(append(errs, printIndented(c.Out, all))...)
		},
	}
}

// inspectAny finds the first kind of thing that has the name.
func (s *session) inspectAny(ctx context.Context, kinds []string, name string) (json.RawMessage, error) {
	for _, kind := range kinds {
		at := "/" + kind + "s/" + name
		if kind == "container" || kind == "image" {
			at += "/json"
		}
		var out json.RawMessage
		err := s.client().get(ctx, at, nil, &out)
		if isStatus(err, http.StatusNotFound) {
			continue
		}
		return out, err
	}
	return nil, fmt.Errorf("no %s is called %s", strings.Join(kinds, ", "), name)
}

func portCommand(s *session) cli.Command {
	return cli.Command{
		Name: "port", Args: "CONTAINER [PORT[/PROTOCOL]]", MinArgs: 1, MaxArgs: 2, Short: "show where a container's ports are published",
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			info, err := s.look(ctx, c.Args[0])
			if err != nil {
				return err
			}
			var lines []string
			for port, bindings := range info.NetworkSettings.Ports {
				for _, b := range bindings {
					at := b.HostIP.String() + ":" + b.HostPort
					if b.HostIP.Is6() {
						at = "[" + b.HostIP.String() + "]:" + b.HostPort
					}
					switch {
					case len(c.Args) < 2:
						lines = append(lines, port.String()+" -> "+at)
					case port.String() == c.Args[1], port.String() == c.Args[1]+"/tcp":
						lines = append(lines, at)
					}
				}
			}
			if len(c.Args) > 1 && len(lines) == 0 {
				return fmt.Errorf("container %s: port %s is not published", c.Args[0], c.Args[1])
			}
			slices.Sort(lines)
			for _, l := range lines {
				fmt.Fprintln(c.Out, l)
			}
			return nil
		},
	}
}

func diffCommand(s *session) cli.Command {
	var asJSON bool
	return cli.Command{
		Name: "diff", Args: "CONTAINER", MinArgs: 1, MaxArgs: 1, Short: "list what a container has changed in its file system",
		Flags: func(f *cli.Flags) { f.Bool(&asJSON, "json", "", "print JSON") },
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			all := []container.FilesystemChange{}
			if err := s.client().get(ctx, "/containers/"+c.Args[0]+"/changes", nil, &all); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.Out, all)
			}
			for _, one := range all {
				fmt.Fprintln(c.Out, one.Kind, harmless(one.Path, 0))
			}
			return nil
		},
	}
}

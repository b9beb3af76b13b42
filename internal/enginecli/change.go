package enginecli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/cli"
)

// each does something with each of the things that were named, and prints those it was done with. What
// goes wrong with one does not keep it from the next.
func each(c *cli.Call, do func(ctx context.Context, name string) error) error {
	ctx, cancel := interruptible()
	defer cancel()
	var errs []error
	for _, name := range c.Args {
		err := do(ctx, name)
		if errors.Is(err, errNoEngine) {
			return err
		}
		if err == nil {
			fmt.Fprintln(c.Out, name)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// post is a request for one container.
func (s *session) post(ctx context.Context, name, verb string, query url.Values) error {
	return s.client().do(ctx, http.MethodPost, "/containers/"+name+"/"+verb, query, nil, nil)
}

// changeCommand is a verb that changes containers and has no more to say.
func changeCommand(s *session, verb, text string) cli.Command {
	return cli.Command{
		Name: verb, Args: "CONTAINER...", MinArgs: 1, MaxArgs: cli.Many, Short: text,
		Run: func(c *cli.Call) error {
			return each(c, func(ctx context.Context, name string) error { return s.post(ctx, name, verb, nil) })
		},
	}
}

func pauseCommand(s *session) cli.Command {
	return changeCommand(s, "pause", "stop containers' processes where they are")
}

func unpauseCommand(s *session) cli.Command {
	return changeCommand(s, "unpause", "let the processes of paused containers go on")
}

func stopCommand(s *session) cli.Command { return endCommand(s, "stop", "end containers") }

func restartCommand(s *session) cli.Command {
	return endCommand(s, "restart", "end containers and start them again")
}

// endCommand is stop or restart.
func endCommand(s *session, verb, text string) cli.Command {
	grace := 0
	signal := ""
	return cli.Command{
		Name: verb, Args: "CONTAINER...", MinArgs: 1, MaxArgs: cli.Many, Short: text,
		Flags: func(f *cli.Flags) {
			f.Int(&grace, "time", "t", "`SECONDS` before they are killed; the container's own unless given, -1 for no end")
			f.String(&signal, "signal", "s", "`SIGNAL` to send; the container's own unless given")
		},
		Run: func(c *cli.Call) error {
			q := url.Values{}
			if c.Given("time") {
				q.Set("t", strconv.Itoa(grace))
			}
			if signal != "" {
				q.Set("signal", signal)
			}
			return each(c, func(ctx context.Context, name string) error { return s.post(ctx, name, verb, q) })
		},
	}
}

func killCommand(s *session) cli.Command {
	signal := "KILL"
	return cli.Command{
		Name: "kill", Args: "CONTAINER...", MinArgs: 1, MaxArgs: cli.Many, Short: "send a signal to containers",
		Flags: func(f *cli.Flags) { f.String(&signal, "signal", "s", "`SIGNAL` to send (KILL)") },
		Run: func(c *cli.Call) error {
			return each(c, func(ctx context.Context, name string) error {
				return s.post(ctx, name, "kill", url.Values{"signal": {signal}})
			})
		},
	}
}

const rmLong = `Remove containers: what they wrote, their logs and their state. Without an engine that answers, remove
what containers of these names have written to flash ("tare run --write flash --name NAME").`

func rmCommand(s *session) cli.Command {
	var force, volumes bool
	return cli.Command{
		Name: "rm", Args: "CONTAINER...", MinArgs: 1, MaxArgs: cli.Many, Short: "remove containers", Long: rmLong,
		Flags: func(f *cli.Flags) {
			f.Bool(&force, "force", "f", "kill those that run; one that is not there is no error")
			f.Bool(&volumes, "volumes", "v", "remove their volumes that have no name, too")
		},
		Run: func(c *cli.Call) error {
			q := url.Values{"force": {strconv.FormatBool(force)}, "v": {strconv.FormatBool(volumes)}}
			err := each(c, func(ctx context.Context, name string) error {
				err := s.client().do(ctx, http.MethodDelete, "/containers/"+name, q, nil, nil)
				if force && isStatus(err, http.StatusNotFound) {
					return nil
				}
				return err
			})
			if errors.Is(err, errNoEngine) {
				return s.fallBack("rm", c, err)
			}
			return err
		},
	}
}

// fallBack runs the verb that works without an engine.
func (s *session) fallBack(verb string, c *cli.Call, err error) error {
	cmd := s.local(verb)
	if cmd == nil {
		return err
	}
	return cli.Run(cmd, c.IO, c.Path, c.Raw)
}

func waitCommand(s *session) cli.Command {
	condition := ""
	return cli.Command{
		Name: "wait", Args: "CONTAINER...", MinArgs: 1, MaxArgs: cli.Many,
		Short: "wait for the end of containers, and print their exit statuses",
		Flags: func(f *cli.Flags) {
			f.String(&condition, "condition", "", "not-running, next-exit or removed: `WHAT` is waited for (not-running)")
		},
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			var errs []error
			for _, name := range c.Args {
				status, err := s.client().wait(ctx, name, condition)
				if err == nil {
					fmt.Fprintln(c.Out, status)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
}

// wait waits for a container's end, and returns its exit status.
func (c *client) wait(ctx context.Context, name, condition string) (int, error) {
	q := url.Values{}
	if condition != "" {
		q.Set("condition", condition)
	}
	var out container.WaitResponse
	if err := c.do(ctx, http.MethodPost, "/containers/"+name+"/wait", q, nil, &out); err != nil {
		return 0, err
	}
	if out.Error != nil && out.Error.Message != "" {
		return int(out.StatusCode), errors.New(out.Error.Message)
	}
	return int(out.StatusCode), nil
}

func renameCommand(s *session) cli.Command {
	return cli.Command{
		Name: "rename", Args: "CONTAINER NAME", MinArgs: 2, MaxArgs: 2, Short: "give a container another name",
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			return s.post(ctx, c.Args[0], "rename", url.Values{"name": {c.Args[1]}})
		},
	}
}

package enginecli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/cli"
)

const runLong = `Run a command in a new container of an image that is in the store.

Where an engine answers, it makes the container, which then outlives this command (-d) and is seen by ps,
logs and the others. Without one, or with --no-engine, --write or --layout, this command makes it, waits for
its end and removes it.

A container may do little unless it is asked for: few capabilities, no new privileges, and no network but its
own loopback, unless --network or --publish is given. What it writes stays in memory. The exit status is the
command's; 125 to 127 tell that it did not start.`

// run is what a person asks for, before it is in the API's words.
type run struct {
	container.Config
	host container.HostConfig

	name, entrypoint, network, platform string
	detach, interactive, noEngine       bool
	memory, swap, shm, cpus, restart    string
	pids, stopTimeout                   int
	env, envFiles, labels, publish      []string
	tmpfs, devices, dns, ulimits        []string
	aliases, sysctls                    []string
	init                                bool
	health                              health
	local                               []string // flags given that only the way without an engine has
	ip                                  string
}

func runCommand(s *session) cli.Command {
	var r run
	return cli.Command{
		Name: "run", Args: "IMAGE [COMMAND...]", MinArgs: 1, MaxArgs: cli.Many, StopAtArg: true,
		Short: "run a command in a new container", Long: runLong,
		Flags: r.flags,
		Run:   func(c *cli.Call) error { return r.run(s, c) },
	}
}

func (r *run) run(s *session, c *cli.Call) error {
	ctx := context.Background()
	local := r.noEngine || len(r.local) > 0
	if !local && s.client().answers(ctx) {
		return r.engine(ctx, s, c)
	}
	for _, flag := range engineOnly {
		if !c.Given(flag) {
			continue
		}
		if local {
			return c.Usagef("--%s needs the engine, which --no-engine, --write and --layout do without", flag)
		}
		return fmt.Errorf("run --%s: %w on %s (to start one: tare daemon)", flag, errNoEngine, s.socket())
	}
	args := c.Raw
	if n := slices.IndexFunc(args, func(a string) bool { return a == "--no-engine" || a == "-no-engine" }); r.noEngine && n >= 0 {
		args = slices.Delete(slices.Clone(args), n, n+1)
	}
	cmd := s.local("run")
	if cmd == nil {
		return errNoEngine
	}
	return cli.Run(cmd, c.IO, c.Path, args)
}

// engine has the engine make the container, and start it.
func (r *run) engine(ctx context.Context, s *session, c *cli.Call) error {
	req, err := r.request(c)
	if err != nil {
		return &cli.Exit{Status: statusEngine, Err: err}
	}
	q := url.Values{}
	for key, value := range map[string]string{"name": r.name, "platform": r.platform} {
		if value != "" {
			q.Set(key, value)
		}
	}
	var made container.CreateResponse
	err = s.client().do(ctx, http.MethodPost, "/containers/create", q, req, &made)
	if isStatus(err, http.StatusNotFound) {
		err = fmt.Errorf("%w (to fetch it: tare pull %s)", err, c.Args[0])
	}
	if err != nil {
		return startStatus(err)
	}
	for _, w := range made.Warnings {
		fmt.Fprintln(c.Err, "warning:", w)
	}
	start := func() error { return startStatus(s.post(ctx, made.ID, "start", nil)) }
	if r.detach {
		if err := start(); err != nil {
			return err
		}
		fmt.Fprintln(c.Out, made.ID)
		return nil
	}
	o := attaching{id: made.ID, tty: r.Tty, input: r.StdinOnce, proxy: true, condition: "next-exit"}
	if r.host.AutoRemove {
		o.condition = "removed"
	}
	err = s.attach(ctx, c, o, start)
	if e, ok := errors.AsType[*cli.Exit](err); ok && e.Err != nil && r.host.AutoRemove {
		// It was not started, so nobody removes it.
		rm := s.client().do(ctx, http.MethodDelete, "/containers/"+made.ID, url.Values{"v": {"1"}, "force": {"1"}}, nil, nil)
		if rm != nil && !isStatus(rm, http.StatusNotFound) && !isStatus(rm, http.StatusConflict) {
			e.Err = errors.Join(e.Err, rm)
		}
	}
	return err
}

package enginecli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/cli"
)

// Exit statuses of a container that was not started, as docker run has them.
const (
	statusEngine   = 125
	statusCannot   = 126
	statusNotFound = 127
)

func startCommand(s *session) cli.Command {
	var attach, input bool
	return cli.Command{
		Name: "start", Args: "CONTAINER...", MinArgs: 1, MaxArgs: cli.Many, Short: "start containers",
		Flags: func(f *cli.Flags) {
			f.Bool(&attach, "attach", "a", "show its output, and wait for its end")
			f.Bool(&input, "interactive", "i", "give it our standard input, too")
		},
		Run: func(c *cli.Call) error {
			if !attach && !input {
				return each(c, func(ctx context.Context, name string) error { return s.post(ctx, name, "start", nil) })
			}
			if len(c.Args) > 1 {
				return c.Usagef("one container can be attached to")
			}
			ctx := context.Background()
			info, err := s.look(ctx, c.Args[0])
			if err != nil {
				return err
			}
			o := attaching{id: info.ID, tty: info.Config.Tty, input: input && info.Config.OpenStdin, proxy: true, condition: "next-exit"}
			return s.attach(ctx, c, o, func() error { return s.post(ctx, info.ID, "start", nil) })
		},
	}
}

// startStatus is an error of a start with the exit status that tells it from the command's own.
func startStatus(err error) error {
	if err == nil {
		return nil
	}
	status := statusEngine
	switch text := err.Error(); {
	case strings.Contains(text, "not found"), strings.Contains(text, "no such file"):
		status = statusNotFound
	case strings.Contains(text, "permission denied"), strings.Contains(text, "exec format error"), strings.Contains(text, "is a directory"):
		status = statusCannot
	}
	return &cli.Exit{Status: status, Err: err}
}

// waited reads the answer to a wait: an exit status that is not 0 is the error.
func waited(resp *http.Response) error {
	var out container.WaitResponse
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	if out.Error != nil && out.Error.Message != "" {
		return startStatus(errors.New(out.Error.Message))
	}
	if out.StatusCode != 0 {
		return &cli.Exit{Status: int(out.StatusCode)}
	}
	return nil
}

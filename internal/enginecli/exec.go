package enginecli

import (
	"net/http"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/cli"
)

func execCommand(s *session) cli.Command {
	var o container.ExecCreateRequest
	var interactive, detach bool
	return cli.Command{
		Name: "exec", Args: "CONTAINER COMMAND...", MinArgs: 2, MaxArgs: cli.Many, StopAtArg: true,
		Short: "run a command in a running container",
		Long:  "Run a command in a running container. The exit status is the command's.",
		Flags: func(f *cli.Flags) {
			f.Bool(&interactive, "interactive", "i", "give it our standard input")
			f.Bool(&o.Tty, "tty", "t", "give it a terminal")
			f.Bool(&detach, "detach", "d", "do not wait for it")
			f.Bool(&o.Privileged, "privileged", "", "give it all capabilities")
			f.String(&o.User, "user", "u", "`USER[:GROUP]` to run as")
			f.String(&o.WorkingDir, "workdir", "w", "`DIR` to start in")
			f.Strings(&o.Env, "env", "e", "`NAME=VALUE` in the environment; may be given again")
		},
		Run: func(c *cli.Call) error {
			o.Cmd = c.Args[1:]
			o.AttachStdin, o.AttachStdout, o.AttachStderr = interactive && !detach, !detach, !detach
			o.ConsoleSize = consoleSize(c)
			return s.exec(c, o, detach)
		},
	}
}

func (s *session) exec(c *cli.Call, o container.ExecCreateRequest, detach bool) error {
	ctx, cancel := interruptible()
	defer cancel()
	api := s.client()
	var made container.ExecCreateResponse
	if err := api.do(ctx, http.MethodPost, "/containers/"+c.Args[0]+"/exec", nil, o, &made); err != nil {
		return err
	}
	start := container.ExecStartRequest{Detach: detach, Tty: o.Tty, ConsoleSize: o.ConsoleSize}
	at := "/exec/" + made.ID
	if detach {
		return api.do(ctx, http.MethodPost, at+"/start", nil, start, nil)
	}
	st, err := api.hijack(ctx, at+"/start", nil, start)
	if err != nil {
		return startStatus(err)
	}
	y := carrying{stream: st, tty: o.Tty, input: o.AttachStdin, resize: at + "/resize", client: api}
	if err := y.carry(ctx, c); err != nil {
		return err
	}
	var ended container.ExecInspectResponse
	if err := api.get(ctx, at+"/json", nil, &ended); err != nil {
		return err
	}
	if ended.ExitCode != nil && *ended.ExitCode != 0 {
		return &cli.Exit{Status: *ended.ExitCode}
	}
	return nil
}

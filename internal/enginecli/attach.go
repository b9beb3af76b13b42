package enginecli

import (
	"context"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/cli"
)

func attachCommand(s *session) cli.Command {
	var o attaching
	return cli.Command{
		Name: "attach", Args: "CONTAINER", MinArgs: 1, MaxArgs: 1,
		Short: "connect to the streams of a running container",
		Long:  "Connect to the streams of a running container, until it ends. The exit status is the container's.",
		Flags: func(f *cli.Flags) {
			f.Bool(&o.noInput, "no-stdin", "", "give it no input")
			f.String(&o.detachKeys, "detach-keys", "", "`KEYS` that leave it: ctrl-p,ctrl-q unless given")
			o.proxy = true
			f.Bool(&o.proxy, "sig-proxy", "", "send it the signals that we get")
		},
		Run: func(c *cli.Call) error {
			ctx := context.Background()
			info, err := s.look(ctx, c.Args[0])
			if err != nil {
				return err
			}
			o.id, o.tty, o.input = info.ID, info.Config.Tty, info.Config.OpenStdin && !o.noInput
			o.condition = "not-running"
			return s.attach(ctx, c, o, nil)
		},
	}
}

// look is what the engine knows of a container.
func (s *session) look(ctx context.Context, name string) (*container.InspectResponse, error) {
	var info container.InspectResponse
	if err := s.client().get(ctx, "/containers/"+name+"/json", nil, &info); err != nil {
		return nil, err
	}
	if info.Config == nil {
		info.Config = &container.Config{}
	}
	if info.State == nil {
		info.State = &container.State{}
	}
	return &info, nil
}

// attaching is how to connect to a container.
type attaching struct {
	id                    string
	tty, input, noInput   bool
	proxy                 bool
	detachKeys, condition string
}

// attach connects to a container, calls start if that is not nil, and stays to the container's end. Its
// exit status is ours.
func (s *session) attach(ctx context.Context, c *cli.Call, o attaching, start func() error) error {
	api := s.client()
	at := "/containers/" + o.id
	q := url.Values{"stream": {"1"}, "stdout": {"1"}, "stderr": {"1"}}
	if o.input {
		q.Set("stdin", "1")
	}
	if o.detachKeys != "" {
		q.Set("detachKeys", o.detachKeys)
	}
	st, err := api.hijack(ctx, at+"/attach", q, nil)
	if err != nil {
		return err
	}
	defer st.Close()
	// The engine answers when it waits, so that no end is missed.
	wait, err := api.request(ctx, http.MethodPost, at+"/wait", url.Values{"condition": {o.condition}}, nil)
	if err != nil {
		return err
	}
	defer wait.Body.Close()
	if start != nil {
		if err := start(); err != nil {
			return err
		}
	}
	if o.proxy && !o.tty {
		defer s.forward(ctx, o.id)()
	}
	y := carrying{stream: st, tty: o.tty, input: o.input, resize: at + "/resize", client: api}
	if err := y.carry(ctx, c); err != nil {
		return err
	}
	return s.exitOf(ctx, wait, o)
}

// exitOf is the container's exit status, or nothing when it goes on because the person left it.
func (s *session) exitOf(ctx context.Context, wait *http.Response, o attaching) error {
	if o.tty || o.detachKeys != "" {
		if info, err := s.look(ctx, o.id); err == nil && info.State.Running {
			return nil
		}
	}
	return waited(wait)
}

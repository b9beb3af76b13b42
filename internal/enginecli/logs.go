package enginecli

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"tare.dev/tare/internal/cli"
)

func logsCommand(s *session) cli.Command {
	var follow, times bool
	tail, since, until := "all", "", ""
	return cli.Command{
		Name: "logs", Args: "CONTAINER", MinArgs: 1, MaxArgs: 1, Short: "show a container's output",
		Flags: func(f *cli.Flags) {
			f.Bool(&follow, "follow", "f", "go on until it ends")
			f.Bool(&times, "timestamps", "t", "show when each line came")
			f.String(&tail, "tail", "n", "`NUMBER` of lines to show of the end, or all")
			f.String(&since, "since", "", "only from this `TIME` on: a date, or how long it is ago (10m)")
			f.String(&until, "until", "", "only before this `TIME`")
		},
		Run: func(c *cli.Call) error {
			ctx, cancel := interruptible()
			defer cancel()
			q := url.Values{"stdout": {"1"}, "stderr": {"1"}, "tail": {tail}}
			for key, on := range map[string]bool{"follow": follow, "timestamps": times} {
				if on {
					q.Set(key, "1")
				}
			}
			for key, value := range map[string]string{"since": since, "until": until} {
				if value != "" {
					q.Set(key, value)
				}
			}
			resp, err := s.client().request(ctx, http.MethodGet, "/containers/"+c.Args[0]+"/logs", q, nil)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if strings.HasSuffix(resp.Header.Get("Content-Type"), "raw-stream") {
				_, err = io.Copy(c.Out, resp.Body)
			} else {
				err = copyFrames(c.Out, c.Err, resp.Body)
			}
			if ctx.Err() != nil || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil // the person has seen enough, or the engine ended
			}
			return err
		},
	}
}

package runtimecli

import (
	"context"
	"fmt"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tare.dev/tare/internal/cli"
)

// eventJSON is one line of events, as runc prints it and containerd reads it.
type eventJSON struct {
	Type string `json:"type"` // stats or oom
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

func eventsCommand(s *session) cli.Command {
	interval, once := 5*time.Second, false
	return cli.Command{
		Name: "events", Args: "ID", MinArgs: 1, MaxArgs: 1,
		Short: "print what a container uses, now and then, and when it runs out of memory",
		Flags: func(f *cli.Flags) {
			f.Duration(&interval, "interval", "", "`TIME` between two looks at the use")
			f.Bool(&once, "stats", "", "look once and exit")
		},
		Run: func(c *cli.Call) error {
			if interval <= 0 {
				return c.Usagef("--interval %v: want more than 0", interval)
			}
			h, err := s.loadRunning(c)
			if err != nil {
				return err
			}
			if once {
				return printStats(c, h)
			}
			return s.watch(c, h, interval)
		},
	}
}

func statsCommand(s *session) cli.Command {
	return cli.Command{
		Name: "stats", Args: "ID", MinArgs: 1, MaxArgs: 1,
		Short: "print once what a container uses",
		Run: func(c *cli.Call) error {
			h, err := s.loadRunning(c)
			if err != nil {
				return err
			}
			return printStats(c, h)
		},
	}
}

// loadRunning finds a container that has not stopped.
func (s *session) loadRunning(c *cli.Call) (handle, error) {
	h, err := s.load(c)
	if err != nil {
		return nil, err
	}
	st, err := h.State()
	if err != nil {
		return nil, err
	}
	if st.Status == specs.StateStopped {
		return nil, fmt.Errorf("container %s is not running", h.ID())
	}
	return h, nil
}

// watch prints until the container's control group is gone.
func (s *session) watch(c *cli.Call, h handle, interval time.Duration) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	oom, err := h.OOMEvents(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case _, open := <-oom:
			if !open {
				return nil
			}
			if err := printJSON(c.Out, eventJSON{Type: "oom", ID: h.ID()}, ""); err != nil {
				return err
			}
		case <-tick.C:
			// One look may fail and the next one not; the end comes by the channel.
			if err := printStats(c, h); err != nil {
				s.log.warn(err.Error())
			}
		}
	}
}

func printStats(c *cli.Call, h handle) error {
	st, err := h.Stats()
	if err != nil {
		return err
	}
	return printJSON(c.Out, eventJSON{Type: "stats", ID: h.ID(), Data: st}, "")
}

package enginecli

import (
	"time"

	"github.com/moby/moby/api/types/container"

	"tare.dev/tare/internal/cli"
)

// health is what --health-... ask for.
type health struct {
	none                     bool
	cmd                      string
	interval, timeout, start time.Duration
	retries                  int
}

func (h *health) flags(f *cli.Flags) {
	f.String(&h.cmd, "health-cmd", "", "`COMMAND` for its shell that tells whether it works")
	f.Duration(&h.interval, "health-interval", "", "`TIME` between two of them (30s)")
	f.Duration(&h.timeout, "health-timeout", "", "`TIME` that one may take (30s)")
	f.Duration(&h.start, "health-start-period", "", "`TIME` in which it may fail after the start")
	f.Int(&h.retries, "health-retries", "", "`NUMBER` of failures in a row that count (3)")
	f.Bool(&h.none, "no-healthcheck", "", "do not run the image's")
}

// config is nil when nothing was asked for: the image's holds.
func (h *health) config(*cli.Call) (*container.HealthConfig, error) {
	if h.none {
		return &container.HealthConfig{Test: []string{"NONE"}}, nil
	}
	c := &container.HealthConfig{Interval: h.interval, Timeout: h.timeout, StartPeriod: h.start, Retries: h.retries}
	if h.cmd != "" {
		c.Test = []string{"CMD-SHELL", h.cmd}
	}
	if h.cmd == "" && h.interval == 0 && h.timeout == 0 && h.start == 0 && h.retries == 0 {
		return nil, nil
	}
	return c, nil
}

package enginecli

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"tare.dev/tare/internal/cli"
)

// upgradePatience is how long the new engine may take to answer: the keeper's own patience and a little more.
const upgradePatience = 45 * time.Second

// upgrade has the engine that runs go on as another program, and waits for that.
func (d *daemon) upgrade(c *cli.Call) error {
	if c.Args[0] != "upgrade" || len(c.Args) != 2 {
		return c.Usagef("want nothing, or upgrade PROGRAM")
	}
	program, err := filepath.Abs(c.Args[1])
	if err != nil {
		return err
	}
	ctx, cancel := interruptible()
	defer cancel()
	s := &session{Options{Dirs: d.o.Dirs}}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return err
	}
	before, _, err := s.version(ctx)
	if err != nil {
		return err
	}
	body := map[string]string{"program": program}
	if err := s.client().do(ctx, http.MethodPost, "/tare/upgrade", nil, body, nil); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond) // the old engine answers until it has ended
	for deadline := time.Now().Add(upgradePatience); ; {
		after, now, err := s.version(ctx)
		if err == nil && now != program {
			return fmt.Errorf("daemon: the engine of %s did not come up: %s goes on; the daemon's log says why", program, now)
		}
		if err == nil {
			fmt.Fprintf(c.Out, "%s -> %s\n", before, after)
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("daemon: no engine answers after the upgrade to %s: %w", program, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// version asks the engine for its own, and for its program.
func (s *session) version(ctx context.Context) (version, program string, err error) {
	var v struct {
		Version    string
		Components []struct {
			Details struct{ Program string }
		}
	}
	if err := s.client().do(ctx, http.MethodGet, "/version", nil, nil, &v); err != nil {
		return "", "", err
	}
	if len(v.Components) > 0 {
		program = v.Components[0].Details.Program
	}
	return v.Version, program, nil
}

package enginecli

import (
	"context"
	"errors"
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
	before, err := s.version(ctx)
	if err != nil {
		return err
	}
	body := map[string]string{"program": program}
	if err := s.client().do(ctx, http.MethodPost, "/tare/upgrade", nil, body, nil); err != nil {
		return err
	}
	for deadline := time.Now().Add(upgradePatience); ; {
		after, err := s.version(ctx)
		switch next := err == nil && after.pid != before.pid; { // the old engine answers until it has ended
		case next && after.program != program:
			return fmt.Errorf("daemon: the engine of %s did not come up: %s goes on; the daemon's log says why", program, after.program)
		case next:
			fmt.Fprintf(c.Out, "%s -> %s\n", before.version, after.version)
			return nil
		case ctx.Err() != nil || time.Now().After(deadline):
			return fmt.Errorf("daemon: no new engine answers after the upgrade to %s: %w", program, errors.Join(ctx.Err(), err))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// identity is which engine answers.
type identity struct{ version, program, pid string }

// version asks the engine who it is.
func (s *session) version(ctx context.Context) (identity, error) {
	var v struct{ Version, Program, Pid string }
	err := s.client().do(ctx, http.MethodGet, "/version", nil, nil, &v)
	return identity{v.Version, v.Program, v.Pid}, err
}
